"""The files of an index on disk: generations, manifests, locks, checks."""
