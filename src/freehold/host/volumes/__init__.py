"""Disks of guests: qcow2 files in a local pool."""
