"""Fixtures: an app on a temporary data directory of the original, with 60 logos of which 40 are indexed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from api.app import AnnApp, create_app
from tests.original_files import random_vectors, write_pair, write_store
from tests.settings_with import settings_with

LOGO_IDS = [3, 2**31 - 1, *range(1001, 1059)]
INDEXED, STORED_ONLY = LOGO_IDS[:40], LOGO_IDS[40:]
VECTORS = random_vectors(len(LOGO_IDS))


def write_logos(data_dir: Path) -> Path:
    write_store(data_dir / "efficientnet-b0.hdf5", LOGO_IDS, VECTORS)
    write_pair(data_dir / "efficientnet-b0", INDEXED, VECTORS[:40])
    return data_dir


def app_on(data_dir: Path, **changes: Any) -> AnnApp:
    values = {
        "data_dir": data_dir,
        "store_capacity": 200,
        "allow_private_image_hosts": True,
        "reload_seconds": 0.05,
        **changes,
    }
    return create_app(settings_with(**values))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return write_logos(tmp_path)


@pytest.fixture
def open_app(data_dir: Path) -> Iterator[Callable[..., AnnApp]]:
    apps = []

    def open_one(**changes: Any) -> AnnApp:
        apps.append(app_on(**{"data_dir": data_dir, **changes}))
        return apps[-1]

    yield open_one
    for app in apps:
        app.parts.close()


@pytest.fixture(scope="session")
def shared_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[falcon.testing.TestClient]:
    """A client of one app, for tests that change nothing."""
    app = app_on(write_logos(tmp_path_factory.mktemp("shared")))
    yield falcon.testing.TestClient(app)
    app.parts.close()


@pytest.fixture
def client(open_app: Callable[..., AnnApp]) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(open_app())
