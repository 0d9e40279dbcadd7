"""AWS CloudTrail: events and trails."""
