"""Pixels to vectors to disk: images, the embedder, and the store."""
