"""Machine images: the catalogue of a cloud's images and the recipes of the built-in ones."""
