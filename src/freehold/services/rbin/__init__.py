"""Recycle Bin: rules by which deleted snapshots are kept for a while."""
