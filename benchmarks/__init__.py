"""Measurements of what is claimed of the service, each beside a named rival in the same run."""
