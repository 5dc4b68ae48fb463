"""The server below the app: gunicorn's worker, its connections, and the limits of clients."""
