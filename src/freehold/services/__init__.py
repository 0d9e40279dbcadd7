"""The AWS services: one folder per service, one module per resource family, one function per operation."""
