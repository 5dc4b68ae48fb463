"""Small indexes for the tests of this room."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from index.annoy.build import build_index
from index.files.manifest import Manifest

Logos = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Ids `(n,)` and vectors `(n, dim)`."""


def some_logos(count: int, dim: int = 8, seed: int = 0) -> Logos:
    """Return ids that are neither sorted nor contiguous, and vectors in clusters."""
    rng = np.random.default_rng(seed)
    logo_ids = rng.permutation(np.arange(1, 3 * count + 1))[:count]
    centres = rng.normal(size=(10, dim))
    vectors = centres[rng.integers(0, 10, count)] + rng.normal(scale=0.3, size=(count, dim))
    return logo_ids, vectors.astype(np.float32)


def build(directory: Path, logos: Logos, **options: Any) -> Manifest:
    """Build a generation of 10 trees with one job, unless the options say otherwise."""
    directory.mkdir(parents=True, exist_ok=True)
    options = {"trees": 10, "jobs": 1, "seed": 1, **options}
    return build_index(directory, [logos], dim=logos[1].shape[1], rows=len(logos[0]), **options)


def write_pair(directory: Path, logos: Logos, trees: int = 10, jobs: int = 1) -> Path:
    """Write the original's two files with nothing but Annoy, and return the path of the first."""
    logo_ids, vectors = logos
    directory.mkdir(parents=True, exist_ok=True)
    annoy = AnnoyIndex(vectors.shape[1], "euclidean")
    for item, vector in enumerate(vectors):
        annoy.add_item(item, vector.tolist())
    annoy.build(trees, jobs)
    annoy.save(str(directory / "index.bin"))
    (directory / "index.txt").write_text("".join(f"{logo_id}\n" for logo_id in logo_ids))
    return directory / "index.bin"


@contextmanager
def without_privileges() -> Iterator[None]:
    """Run as nobody instead of root, who may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def killed_before_each_step(directory: Path, action: Callable[[], object]) -> Iterator[int]:
    """Run an action in child processes: kill the first before its first step, the second before its second, ….

    A step is a call that Python audits: opening, renaming, linking, removing and so on. Each child finds the directory
    as it was at the beginning. Yields the number of the step after each kill, until a child finishes.
    """
    pristine = directory.with_name(directory.name + "-pristine")
    shutil.copytree(directory, pristine, symlinks=True)
    for step in itertools.count():
        shutil.rmtree(directory)
        shutil.copytree(pristine, directory, symlinks=True)
        child = multiprocessing.get_context("fork").Process(target=_run_and_be_killed, args=(action, step))
        child.start()
        child.join()
        if child.exitcode == 0:
            return
        assert child.exitcode == -signal.SIGKILL
        yield step


def _run_and_be_killed(action: Callable[[], object], step: int) -> None:
    steps = itertools.count()

    def kill(event: str, _arguments: object) -> None:
        if event.startswith(("os.", "shutil.", "open", "fcntl.", "tempfile.")) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)
    action()
