"""HTTP: the app factory, the routes, and the mapping of errors to statuses."""
