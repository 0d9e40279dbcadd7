"""The network of a cloud: its namespace, its link to the machine, and the daemons that live in it."""
