"""Data that several rows share: the scale of the run, and a data directory with a store and an index.

The directory is created when the first row needs it, with the store and `manage.py generate-index`, as an operator
would.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from benchmarks.logos import DIM, draw_logos
from embeddings.store.store import EmbeddingStore
from runtime.startup import prepare
from settings import Settings
from tests.end_to_end.service import ROOT, environment

BARE = "bare"
COUNT = 100  # neighbours of a query, the service's default
ROOM_FOR_ADDS = 1000
RELOAD = {"ANN_RELOAD_SECONDS": f"{Settings().reload_seconds:g}"}  # the default of operators; tests check more often


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of the run.

    Attributes:
        logos: in the index.
        trees: of the index.
        stored_logos: in the stores that single rows are read from.
        repetitions: of each measurement; a few slow ones use half of them.
        seconds: time to measure one rate.
        seed: determines all drawn data.
    """

    logos: int = 20_000
    trees: int = 100
    stored_logos: int = 100_000
    repetitions: int = 7
    seconds: float = 1.5
    seed: int = 1

    @property
    def few(self) -> int:
        """Repetitions of measurements that take many seconds."""
        return max(1, self.repetitions // 2)


@dataclass(frozen=True, slots=True)
class IndexedLogos:
    """A data directory whose logos are all indexed.

    Attributes:
        data_dir: the directory.
        logo_ids: in the order that they were stored, which is that of the index's items.
    """

    data_dir: Path
    logo_ids: NDArray[np.int64]

    @property
    def index_dir(self) -> Path:
        """The directory of the index's files."""
        return self.data_dir / Settings().default_index / "current"


class Fixture:
    """Provides the data that rows are measured on.

    Args:
        scratch: an empty directory, on the disk that syncs are measured on.
        say: called with the current step.

    Attributes:
        notes: sentences for readers of the figures.
    """

    def __init__(self, scale: Scale, scratch: Path, say: Callable[[str], None]) -> None:
        self.scale = scale
        self.scratch = scratch
        self.say = say
        self.notes: list[str] = []

    @cached_property
    def indexed(self) -> IndexedLogos:
        """The data directory that the service is started on, with an index like an operator's."""
        self._generate(self.stored.data_dir)
        return self.stored

    @cached_property
    def stored(self) -> IndexedLogos:
        """The same without an index."""
        scale = self.scale
        self.say(f"storing {scale.logos} logos")
        settings = Settings(data_dir=self.scratch / "data", store_capacity=scale.logos + ROOM_FOR_ADDS)
        prepare(settings)
        with EmbeddingStore(settings.store_path) as store:
            for logo_ids, vectors in draw_logos(scale.logos, scale.seed):
                store.append(logo_ids, vectors)
            stored = store.ids()
        return IndexedLogos(settings.data_dir, stored)

    def bare_annoy(self) -> AnnoyIndex:
        """Return bare Annoy on the same logos, over the full vectors; the service has this index as `BARE`."""
        directory = self.indexed.data_dir / BARE
        if not directory.exists():
            self._generate(self.indexed.data_dir, str(directory), "--tree-count", str(self.scale.trees))
        annoy = AnnoyIndex(DIM, "euclidean")
        annoy.load(str(directory / "index.bin"))
        return annoy

    def _generate(self, data_dir: Path, *arguments: str) -> None:
        words = ["generate-index", *(word for word in arguments if not word.startswith("/"))]
        self.say(" ".join(words))
        started = time.monotonic()
        subprocess.run(
            [sys.executable, "manage.py", "generate-index", "--compare", "0", *arguments],
            cwd=ROOT,
            env=environment(data_dir, ANN_MAP_POINTS="0"),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        self.notes.append(f"`{' '.join(words)}` took {time.monotonic() - started:.1f} s.")

    def sample(self, count: int) -> NDArray[np.int64]:
        """Draw at most `count` items of the index, each once."""
        rng = np.random.default_rng(self.scale.seed)
        return rng.permutation(self.scale.logos)[:count]


def settle() -> None:
    """Wait until everything written is on the disk, so that it does not slow down the next measurement."""
    os.sync()
