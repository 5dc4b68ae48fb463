"""What operators do to a store, and files that it is exchanged in."""
