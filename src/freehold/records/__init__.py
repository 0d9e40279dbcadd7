"""The state of the cloud: typed rows, transactions, the change feed, the audit trail and the usage ledger."""
