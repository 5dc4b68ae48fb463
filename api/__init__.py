"""HTTP: the app factory, the routes, and how errors are answered."""
