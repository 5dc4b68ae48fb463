"""The default engine: lists are chosen, faiss scans their codes, records rank, and the store's vectors measure."""
