"""What the tests of several rooms share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.milvus.fixtures import NAMES as OF_MILVUS
from tests.milvus.fixtures import _lite, _standalone, lite, milvus, milvus_binaries, standalone  # noqa: F401
from tests.photo_server import PhotoServer


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests with a Milvus in one process, where pytest-xdist deals by groups: one of each is enough."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if OF_MILVUS.intersection(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.xdist_group("milvus"))


@pytest.fixture
def photos() -> Iterator[PhotoServer]:
    with PhotoServer() as server:
        yield server
