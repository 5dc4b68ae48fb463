"""Fixtures: a running service whose disk, files and clock the tests break and repair."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.faulty_service import FaultyService
from tests.end_to_end.injected_faults import InjectedFaults
from tests.end_to_end.service import manage
from tests.photo_server import PhotoServer


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> InjectedFaults:
    return InjectedFaults(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, faults: InjectedFaults) -> Iterator[FaultyService]:
    """Run one service for a module. Each test must leave it working, which is half of what is tested."""
    folder = tmp_path_factory.mktemp("spoilt")
    with PhotoServer() as photos, FaultyService(folder / "data", photos, faults) as service:
        service.prepare()
        yield service
        service.assert_intact()
    assert manage(folder / "data", "verify").returncode == 0
