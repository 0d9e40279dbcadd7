"""The network: one pure function from records to OVN rows, and one differ that makes them so."""
