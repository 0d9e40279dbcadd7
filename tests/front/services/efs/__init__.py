"""rest-json."""
