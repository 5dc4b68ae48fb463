"""Vectors to neighbours: engines, their files on disk, and the indexes that a service has loaded."""
