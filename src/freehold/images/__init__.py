"""Machine images: the catalogue of a cloud's images and the recipes of the built-in ones."""

SUITE = "bookworm"
"""The release of Debian that the built-in images are made of, whatever release the machine has: the recipes know the
names and the contents of its packages."""
