"""What the tests of several rooms share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.photo_server import PhotoServer


@pytest.fixture
def photos() -> Iterator[PhotoServer]:
    with PhotoServer() as server:
        yield server
