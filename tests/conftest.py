"""What the tests of several rooms share, which of them `make test-fast` leaves out, and which one process runs."""

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

TOGETHER = {"browser", "milvus", "training"}
"""Folders whose files share servers or a trained network; the tests of other folders share them within a file."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of a folder, and let one process run those that share what is slow to make."""
    for item in items:
        path = item.path.relative_to(Path(__file__).parent)
        if path.parts[0] in MARKERS:
            item.add_marker(MARKERS[path.parts[0]])
        item.add_marker(pytest.mark.xdist_group(path.parts[0] if path.parts[0] in TOGETHER else str(path)))


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
