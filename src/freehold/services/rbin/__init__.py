"""Recycle Bin: rules by which deleted snapshots and images are kept for a while."""
