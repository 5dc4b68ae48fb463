"""Servers with limits that are never met, met at once, or larger on one path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.server.small_server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with limits that no test should reach."""
    with Server(tmp_path_factory.mktemp("patient"), "receive_seconds=60, send_seconds=60") as server:
        yield server


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with limits that are reached at once: 0.3 s, 40 connections, 1 MiB."""
    limits = "receive_seconds=0.3, send_seconds=0.3, buffer_bytes=2**20"
    with Server(tmp_path_factory.mktemp("strict"), limits, connections=40) as server:
        yield server


@pytest.fixture(scope="session")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one path that accepts larger bodies than the others."""
    with Server(tmp_path_factory.mktemp("roomy"), "bodies=body_sizes.BodySizes(2**20, {'/echo': 2**22})") as server:
        yield server
