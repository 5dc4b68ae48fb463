"""From an URL to the pixels of a logo."""
