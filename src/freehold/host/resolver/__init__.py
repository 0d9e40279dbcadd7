"""The resolver of the VPCs, at 169.254.169.253."""
