"""A store to call the commands on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner, Result

from embeddings.maintenance.rewrite import prepare_store
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from manage import cli
from tests.original_files import random_vectors

STAMP = ModelStamp("efficientnet-b0", "d" * 64)
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_maps: None) -> Run:
    monkeypatch.setenv("ANN_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(os, "setpriority", lambda *_: None)  # it would be that of the tests
    return lambda *arguments: CliRunner().invoke(cli, arguments)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    path = tmp_path / "efficientnet-b0.hdf5"
    prepare_store(path, capacity=100, dim=1280, stamp=STAMP)
    with EmbeddingStore(path) as store:
        store.append(range(1, 31), random_vectors(30))
    return path


def damage_row(path: Path, row: int) -> None:
    with h5py.File(path) as file:
        offset = file["embedding"].id.get_offset()
    with path.open("r+b") as file:
        file.seek(offset + row * 1280 * 4)
        file.write(b"\xff\x01")
