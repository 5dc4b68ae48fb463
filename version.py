"""The version of the service: said here, and held to `pyproject.toml` and `docker-compose.yml` by a test."""

VERSION = "2.0.0"
