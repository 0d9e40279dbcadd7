"""The AWS protocols: requests parsed and validated, responses and errors serialised, from the service models.

Each shape is compiled once, at its first use, into a closure that does its part without looking at the model again.
"""
