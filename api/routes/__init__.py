"""Routes: each resource reads a request, calls one journey, and writes the answer."""
