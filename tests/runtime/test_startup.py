"""What a start tells an operator of the stores that it finds."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from runtime.startup import prepare
from settings import Settings
from tests.original_files import random_vectors, write_store

STORE = "efficientnet-b0.hdf5"


def started(data_dir: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings of a start."""
    caplog.clear()
    prepare(Settings(data_dir=data_dir, store_capacity=10))
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def test_a_fresh_start_warns_of_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert started(tmp_path / "data", caplog) == []


@pytest.mark.parametrize("place", ["ann_data", "cwd/ann_data", "data"])
def test_an_empty_start_names_the_stores_near_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    other = tmp_path / place / "efficientnet-b5.hdf5"
    write_store(other, [1, 2], random_vectors(2))
    (warning,) = started(tmp_path / "data", caplog)
    assert warning.startswith("the store is empty, but there are others, which are not used: ")
    assert str(other) in warning
    assert str(tmp_path / "data" / STORE) in warning
    assert started(tmp_path / "data", caplog) == []


def test_a_store_of_the_original_is_named_with_what_became_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_store(tmp_path / "data" / STORE, [1, 2, 2], random_vectors(3))
    (tmp_path / "ann_data").mkdir()
    (tmp_path / "ann_data" / "other.hdf5").touch()
    *_, warning = started(tmp_path / "data", caplog)
    assert "from the original's layout: 2 logos, 1 duplicate ids" in warning
    assert "efficientnet-b0.original.hdf5" in warning
