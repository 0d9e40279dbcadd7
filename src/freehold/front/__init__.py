"""The front door: HTTP, signatures, the AWS protocols and the journey of a request to its operation."""
