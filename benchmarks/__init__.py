"""Measurements of what is claimed of the service, each beside a named rival in the same run."""

import os

# As the service's processes have it, before NumPy is imported: threads that wait for each other hold a query up.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
