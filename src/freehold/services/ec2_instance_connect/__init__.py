"""EC2 Instance Connect: keys that let in their users for a minute."""
