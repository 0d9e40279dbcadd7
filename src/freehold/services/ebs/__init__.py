"""EBS's direct APIs: snapshots read and written by blocks of 512 KiB, without a volume."""
