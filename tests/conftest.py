"""What the tests of several rooms share, and which of them `make test-fast` leaves out."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.map import tsne
from tests.photo_server import PhotoServer

MARKERS = {
    "benchmarks": "slow",
    "browser": "browser",
    "demo": "slow",
    "end_to_end": "slow",
    "milvus": "milvus",
    "torture": "slow",
    "training": "slow",
}
"""The marker of all tests in a folder."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = MARKERS.get(item.path.relative_to(Path(__file__).parent).parts[0])
        if marker is not None:
            item.add_marker(marker)


@pytest.fixture(scope="session", autouse=True)
def certificates_loaded_once() -> Iterator[None]:
    """Share the default TLS context: loading the system's certificates would take 50 ms of each app and fetcher."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture
def quick_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw maps in a few steps, which leaves them tangled."""
    monkeypatch.setattr(tsne, "_CONDENSING", 10)
    monkeypatch.setattr(tsne, "STEPS", 20)


@pytest.fixture
def photos() -> Iterator[PhotoServer]:
    with PhotoServer() as server:
        yield server
