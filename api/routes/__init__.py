"""Routes: each resource reads its request, calls one journey, and shapes the answer."""
