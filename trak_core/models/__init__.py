"""Networks for images and for texts: small ones of our own, and those of libraries by name."""
