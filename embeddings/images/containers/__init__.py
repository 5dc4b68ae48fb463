"""What the pixels of an image file need, taken out of the file: one module for each format."""
