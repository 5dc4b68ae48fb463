"""The two Milvus servers, a store to build a collection from, and an app that answers from a Milvus.

A server is started when a test first wants it, and ends with the run. Each test finds it running and empty.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

import index.sample
from api.app import AnnApp, create_app
from embeddings.store.store import EmbeddingStore
from index.milvus import patience
from index.milvus.client import Milvus
from tests.milvus import fed, indexed
from tests.milvus.builds.building import LOGOS
from tests.milvus.samples import store_with
from tests.milvus.servers.lite import LiteServer
from tests.milvus.servers.server import MilvusServer
from tests.milvus.servers.standalone import StandaloneServer, unpack

Client = falcon.testing.TestClient


@pytest.fixture(scope="session")
def milvus_binaries(request: pytest.FixtureRequest) -> Path:
    """The standalone server's files, kept among pytest's for the next run; for servers that a test makes by itself."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("the standalone Milvus has a wheel for Linux on x86_64 only")
    return unpack(request.config.cache.mkdir("milvus-2.3.5"))


@pytest.fixture(scope="session")
def _lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiteServer]:
    folder = tmp_path_factory.mktemp("milvus-lite")
    with LiteServer(folder) as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _standalone(tmp_path_factory: pytest.TempPathFactory, milvus_binaries: Path) -> Iterator[StandaloneServer]:
    folder = tmp_path_factory.mktemp("milvus-standalone")
    with StandaloneServer(folder, milvus_binaries) as server:
        yield server
    shutil.rmtree(folder)  # 200 MB


@pytest.fixture
def lite(_lite: LiteServer) -> LiteServer:
    """Milvus Lite as a server, running and empty."""
    _lite.make_ready()
    return _lite


@pytest.fixture
def standalone(_standalone: StandaloneServer) -> StandaloneServer:
    """Milvus itself, running and empty."""
    _standalone.make_ready()
    return _standalone


@pytest.fixture(params=["lite", "standalone"])
def milvus(request: pytest.FixtureRequest) -> MilvusServer:
    """Each of the two in turn."""
    server: MilvusServer = request.getfixturevalue(request.param)
    return server


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


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods of pymilvus that were called, by the threads of requests alone if the app looks seldom."""
    made: list[str] = []
    call = Milvus.call

    def watched(self: Milvus, method: str, *args: Any, **options: Any) -> Any:
        made.append(method)
        return call(self, method, *args, **options)

    monkeypatch.setattr(Milvus, "call", watched)
    return made


@pytest.fixture
def fed_path(tmp_path: Path) -> Path:
    store_with(tmp_path / "s.hdf5", fed.LOGOS).close()
    return tmp_path / "s.hdf5"


@pytest.fixture
def start(fed_path: Path) -> Iterator[fed.Start]:
    services = []

    def start_one(server: MilvusServer, **options: Any) -> fed.Service:
        services.append(fed.Service(server, fed_path, **options))
        return services[-1]

    yield start_one
    for service in services:
        service.close()
