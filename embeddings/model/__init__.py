"""From pixels to vectors."""
