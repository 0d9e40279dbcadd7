"""rest-xml."""
