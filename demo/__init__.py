"""A demonstration of the whole service in one command, without network: `python -m demo`."""
