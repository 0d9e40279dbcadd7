"""QEMU: its command line, its process, its monitor, and which accelerator works."""
