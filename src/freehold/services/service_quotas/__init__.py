"""Service Quotas: what an account may hold, and how it asks for more."""
