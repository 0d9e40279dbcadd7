"""The controllers: they follow the change feed and bring hosts and the network to what the records say."""
