"""The default engine: Annoy chooses lists, faiss scans their codes, records rank, and the store's vectors measure."""
