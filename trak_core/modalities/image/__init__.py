"""Images: pixels, pictures of them, files, networks."""
