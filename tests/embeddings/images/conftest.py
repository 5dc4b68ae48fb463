"""An odd server on loopback for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.embeddings.hostile_server import (
    HostileServer,
    reply,
)
from tests.embeddings.images.fetched import PHOTO


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer({"/photo.jpg": reply(PHOTO)}) as server:
        yield server
