"""The whole service at work in one command, without network: `python -m demo`."""
