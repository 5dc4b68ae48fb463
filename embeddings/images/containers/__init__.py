"""Extract from an image file the parts that its pixels need: one module for each format."""
