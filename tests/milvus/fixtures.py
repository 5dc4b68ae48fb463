"""Fixtures with the two Milvus servers; `tests/conftest.py` hands them to all tests.

A server is started when a test first wants it, and ends with the run. Each test finds it running and empty.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.milvus.lite import LiteServer
from tests.milvus.server import MilvusServer
from tests.milvus.standalone import StandaloneServer, unpack


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
