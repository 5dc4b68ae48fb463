"""The Annoy engine: its files, how they are built, checked and searched."""
