"""The version of the service. A test checks that `pyproject.toml` and `docker-compose.yml` have the same one."""

VERSION = "2.0.0"
