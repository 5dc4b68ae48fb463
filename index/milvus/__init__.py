"""The Milvus engine: an index kept by a Milvus server or cluster, beside the HDF5 store.

    client       the connection: time-outs, and errors of this room
    kinds        Milvus' index types, and the parameters to build and search them with
    collections  the collections, and the record in each that says how it was built
    engine       a `SearchIndex` that searches a collection
    catalog      the collections that are served, checked regularly
    feed         sends stored logos that the engine lacks
    build        fills a new collection from a snapshot of the store
    patience     waits for a Milvus that is away or slow
    retirement   releases and drops old collections

The store remains the source of truth: a collection can be built again from it at any time.
"""
