"""Amazon EC2: one module per resource family."""
