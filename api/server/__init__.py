"""The server below the app: gunicorn's worker, connections, and the limits of clients."""
