"""What a host counts for the bill."""
