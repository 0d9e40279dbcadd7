"""Small services of all five families, for tests of what the front door does whatever the service."""
