"""Hostile index files: refused, or answered from rightly; the process lives, and what was loaded goes on answering.

Of a generation whose digests are checked, every changed byte is seen. At a start, that of `index.bin` is not checked: a
changed coordinate cannot be told from a right one, but no logo may be named that the index does not hold. The
original's pair has no digests: there, only crashes, hangs, memory and other exceptions count.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from index.build import build_index
from index.catalog import IndexCatalog
from index.generations import CURRENT, publish
from index.manifest import BIN_NAME, JSON_NAME, TXT_NAME, Manifest
from index.protocol import Neighbours, SearchIndex
from torture.fuzz_case import Case
from torture.fuzz_child import Limits
from torture.fuzz_mutation import mutate

_NAME, _DIM, _LOGOS, _TREES = "index", 6, 60, 3
_NEW, _AT_START, _PAIR = "new generation of an index", "generation of an index at a start", "original's index"
_IDS = np.arange(1, _LOGOS + 1) * 7
_VECTORS = np.random.default_rng(0).normal(size=(_LOGOS, _DIM)).astype(np.float32)


class IndexFiles:
    """Directories with an index.

    Args:
        directory: where the good files are made.
    """

    limits = Limits()

    def __init__(self, directory: Path) -> None:
        self.samples = [_NEW, _AT_START, _PAIR]
        self._good = directory / "good"
        for _ in range(2):
            publish(self._good / _NAME, _build)
        current = self._good / _NAME / CURRENT
        self._link = str(current.readlink())
        self._files = {name: (current / name).read_bytes() for name in (BIN_NAME, TXT_NAME, JSON_NAME)}

    def spoil(self, number: int, sample: str, chance: random.Random) -> Case:
        """Change one of the files, or the link."""
        place = _NAME if sample == _PAIR else f"{_NAME}/generations/20991231T000000Z"
        files = {f"{place}/{name}": content for name, content in self._files.items()}
        if sample == _PAIR:
            del files[f"{place}/{JSON_NAME}"]
        links = {} if sample == _PAIR else {f"{_NAME}/{CURRENT}": "generations/20991231T000000Z"}
        victim = chance.choice([*files, *files, *links])
        if victim in links:
            links[victim], changes = _another_target(chance, self._link)
        elif chance.random() < 0.05:
            del files[victim]
            changes = "missing"
        else:
            spots = range(len(files[victim]))
            files[victim], changes = mutate(files[victim], spots, chance)
        return Case(number, sample, f"{Path(victim).name} {changes}", files, links)

    def attempt(self, case: Case, directory: Path) -> list[str]:
        """Start on the files, or take them in at a look; then search."""
        logging.disable()
        if case.sample != _NEW:
            return _wrong_answers(_open(directory), _is_known if case.sample == _AT_START else _is_anything)
        data = directory / "data"
        shutil.copytree(self._good, data, symlinks=True)
        catalog = _open(data)
        (data / _NAME / CURRENT).unlink()
        shutil.copytree(directory / _NAME, data / _NAME, symlinks=True, dirs_exist_ok=True)
        catalog.refresh()
        wrong = _wrong_answers(catalog, _is_right)
        if _NAME not in catalog.names():
            wrong.append("what was loaded no longer answers")
        return wrong


def _build(directory: Path) -> Manifest:
    return build_index(directory, [(_IDS, _VECTORS)], dim=_DIM, rows=_LOGOS, trees=_TREES, jobs=1, seed=1)


def _open(data: Path) -> IndexCatalog:
    return IndexCatalog(data, dim=_DIM, default=_NAME)


def _wrong_answers(catalog: IndexCatalog, is_allowed: Callable[[Neighbours, int], bool]) -> list[str]:
    wrong: list[str] = []
    for name in catalog.names():
        for place in range(0, _LOGOS, 7):
            answers = _answers(catalog.get(name), place)
            wrong += [f"logo {_IDS[place]} was answered with {each}" for each in answers if not is_allowed(each, place)]
    return wrong


def _answers(index: SearchIndex, place: int) -> list[Neighbours]:
    logo_id = int(_IDS[place])
    answers = [index.nearest_to_vector(_VECTORS[place], count) for count in (1, 10, 1000)]
    if logo_id in index:
        answers += [index.nearest_to_logo(logo_id, count) for count in (1, 10, 1000)]
    return answers


def _is_anything(answer: Neighbours, place: int) -> bool:
    return True


def _is_known(answer: Neighbours, place: int) -> bool:
    return bool(np.isin(answer.logo_ids, _IDS).all())


def _is_right(answer: Neighbours, place: int) -> bool:
    """Tell whether the logo itself is first, and the others are at their distance; Annoy may miss some."""
    if not _is_known(answer, place) or answer.logo_ids[0] != _IDS[place]:
        return False
    places = np.array(answer.logo_ids) // 7 - 1
    distances = np.linalg.norm(_VECTORS[places] - _VECTORS[place], axis=1)
    return bool(np.allclose(answer.distances, distances, atol=1e-4))


def _another_target(chance: random.Random, older: str) -> tuple[str, str]:
    targets = [older, "generations", "generations/none", "..", ".", "/", CURRENT, "x" * 250, "\n", "/dev/zero", "/proc"]
    target = chance.choice(targets)
    return target, f"-> {target[:20]!r}"
