"""What the tests of several rooms share, which of them `make test-fast` leaves out, and which share a process."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

# Before NumPy is imported: processes of tests share the cores, and threads that wait for each other hold them up.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from xdist.scheduler import LoadFileScheduling

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

TOGETHER = {"training"}
"""Folders whose files share what takes long to make: with `--dist loadfile`, one process runs them all.

The tests of a browser or of Milvus do not belong here: a process starts its own in seconds, and takes minutes for all.
"""


@pytest.hookimpl(wrapper=True)  # before pytest looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in MARKERS:
            item.add_marker(MARKERS[folder])
    # First what takes long, so that no process is left alone with it in the end (with --no-loadscope-reorder).
    items.sort(key=lambda item: not any(item.get_closest_marker(marker) for marker in MARKERS.values()))
    yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return FolderScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


class FolderScheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives a process a file at a time, or all files of a folder in `TOGETHER`."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        folder = file.split("/")[1]
        return folder if folder in TOGETHER else file


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
