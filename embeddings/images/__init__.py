"""From the URL of an image to the pixels of a logo."""
