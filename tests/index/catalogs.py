"""Catalogs of small indexes, what damages their files, and what they complain of."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.catalog import IndexCatalog
from index.files.generations import publish
from tests.index.samples import build, some_logos

QUERY = np.zeros(8, np.float32)


def catalog_of(data_dir: Path, **options: Any) -> IndexCatalog:
    return IndexCatalog(data_dir, dim=8, default="logos", **options)


def publish_logos(index_dir: Path, count: int, **options: Any) -> Path:
    return publish(index_dir, lambda directory: build(directory, some_logos(count), **options))


def cut(path: Path) -> None:
    """Damage a file as a copy that was interrupted would, without touching the one that may be mapped."""
    copy = path.with_suffix(".cut")
    copy.write_bytes(path.read_bytes()[:-1])
    copy.replace(path)


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records if record.levelno >= logging.WARNING]
