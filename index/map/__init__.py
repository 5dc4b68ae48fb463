"""The map of an index: its logos laid out on a plane."""
