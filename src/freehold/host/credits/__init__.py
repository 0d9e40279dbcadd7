"""CPU credits of burstable guests: what they earn and spend, and how much of their vCPUs they may use."""
