"""The Milvus engine: an index that is kept by a Milvus server, or a cluster of them, beside the HDF5 store.

    client       the one way to the server: time-outs, and errors of ours
    kinds        Milvus' index types, with the parameters that we build and search them with
    collections  what a collection of ours is, and the record that says how it was built
    engine       `SearchIndex`, answered by a collection
    catalog      the collections that answer, looked up again and again
    feed         sends stored logos that the engine does not hold
    build        a new collection from a snapshot of the store
    patience     waits for a Milvus that is away, or takes its time
    retirement   releases and drops what answered before

The store stays the source of truth: a collection can be made again from it at any time.
"""
