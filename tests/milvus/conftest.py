"""A store to build a collection from, and an app that answers from a Milvus, on a data directory of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

import index.sample
from api.app import AnnApp, create_app
from embeddings.store.store import EmbeddingStore
from index.milvus import patience
from tests.milvus import indexed
from tests.milvus.building import LOGOS
from tests.milvus.samples import store_with
from tests.milvus.server import MilvusServer

Client = falcon.testing.TestClient


@pytest.fixture
def quick_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds look at Milvus twenty times a second, and measure recall with ten queries."""
    monkeypatch.setattr(patience, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(index.sample, "QUERIES", 10)


@pytest.fixture
def index_dir(tmp_path: Path) -> Path:
    return tmp_path / "logos-v1"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with store_with(tmp_path / "s.hdf5", LOGOS) as opened:
        yield opened


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """60 stored logos."""
    indexed.fill_data_dir(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def open_app(data_dir: Path) -> Iterator[Callable[..., AnnApp]]:
    """Opens an app on a server, with changes to its settings; closed after the test."""
    apps = []

    def open_one(server: MilvusServer, **changes: Any) -> AnnApp:
        apps.append(create_app(indexed.settings_of(server, **{"data_dir": data_dir, **changes})))
        return apps[-1]

    yield open_one
    for app in apps:
        app.parts.close()


@pytest.fixture
def serve(data_dir: Path, open_app: Callable[..., AnnApp]) -> Callable[..., Client]:
    """Opens an app on a server that holds 40 of the logos; the other 20 are only stored."""

    def serve_one(server: MilvusServer, **changes: Any) -> Client:
        indexed.note_as_indexed(data_dir, indexed.index(server))
        return Client(open_app(server, **changes))

    return serve_one
