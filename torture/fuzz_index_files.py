"""Hostile index files: refused, or searched correctly; the process survives, and the loaded index stays in use.

In a generation whose digests are checked, every changed byte is noticed. At start, the digests of large files are not
checked: a changed coordinate looks like a right one, but results must contain no logo that the index does not hold, and
the distances of an index of lists are measured. The original's pair has no digests: there, only crashes, hangs, memory
and other exceptions count. A map is refused, or shows what was drawn.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from index.annoy.build import build_index
from index.catalog import IndexCatalog
from index.errors import IndexDamagedError
from index.files.generations import CURRENT, publish
from index.files.manifest import JSON_NAME, Manifest
from index.lists import centres, codes, plan
from index.lists.build import PlacedBlocks, build_lists
from index.map.map_file import MAP_NAME, SIDE, LogoMap, read_map, write_map
from index.protocol import Neighbours, SearchIndex
from torture.fuzz_case import Case
from torture.fuzz_child import Limits
from torture.fuzz_mutation import mutate

_NAME, _DIM, _LOGOS, _TREES = "index", 6, 60, 3
_NEW, _AT_START, _PAIR = "new generation of an index", "generation of an index at a start", "original's index"
_NEW_LISTS, _LISTS_AT_START = "new generation of an index of lists", "generation of an index of lists at a start"
_MAP = "map of an index"
_NEW_LONG, _LONG_AT_START = "new generation of an index of millions", "generation of an index of millions at a start"
_FEW = 20  # so that few logos have lists, and codes that are scanned
_IDS = np.arange(1, _LOGOS + 1) * 7
_GENERATION = "20991231T000000Z"
_DRAWN = LogoMap(_IDS, np.random.default_rng(1).integers(0, SIDE, (_LOGOS, 2)))
_LONG_DIM = 300  # of these components, records have some in bytes and some in half bytes


class _Logos:
    """The logos of an index.

    Args:
        dim: the number of values in a vector.
    """

    ids = _IDS

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.vectors = np.random.default_rng(0).normal(size=(_LOGOS, dim)).astype(np.float32)

    def vectors_of(self, logo_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.vectors[logo_ids // 7 - 1]

    def sample(self, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        return _IDS[:count], self.vectors[:count]

    def checksums(self) -> NDArray[np.uint32]:
        return np.arange(_LOGOS, dtype=np.uint32)

    def blocks_of(self, places: NDArray[np.int64]) -> PlacedBlocks:
        return iter([(places, _IDS[places], self.vectors[places])])


_FEW_VALUES, _MANY_VALUES = _Logos(_DIM), _Logos(_LONG_DIM)


class IndexFiles:
    """Directories with an index.

    Args:
        directory: a directory to create the good files in.
    """

    limits = Limits()

    def __init__(self, directory: Path) -> None:
        self.samples = [_NEW, _AT_START, _PAIR, _NEW_LISTS, _LISTS_AT_START, _NEW_LONG, _LONG_AT_START, _MAP]
        self._good, self._good_long = directory / "good", directory / "good-long"
        for good, logos in ((self._good, _FEW_VALUES), (self._good_long, _MANY_VALUES)):
            for _ in range(2):
                publish(good / _NAME, partial(_build, logos=logos))
        current = self._good / _NAME / CURRENT
        self._link = str(current.readlink())
        drawn = directory / _GENERATION
        drawn.mkdir()
        write_map(drawn, _DRAWN)
        self._map = (drawn / MAP_NAME).read_bytes()
        self._files = {path.name: path.read_bytes() for path in sorted(current.iterdir())}
        lists = _build_lists(directory / "lists", _FEW_VALUES)
        with patch.multiple(codes, MANY=1), patch.multiple(plan, COPIED_BELOW=0):
            long = _build_lists(directory / "long", _MANY_VALUES)
        self._list_files = {_NEW_LISTS: lists, _LISTS_AT_START: lists, _NEW_LONG: long, _LONG_AT_START: long}

    def spoil(self, number: int, sample: str, chance: random.Random) -> Case:
        """Change one of the files, or the link."""
        place = _NAME if sample == _PAIR else f"{_NAME}/generations/{_GENERATION}"
        if sample == _MAP:
            content, changes = mutate(self._map, range(len(self._map)), chance)
            return Case(number, sample, f"{MAP_NAME} {changes}", {f"{place}/{MAP_NAME}": content})
        good = self._list_files.get(sample, self._files)
        files = {f"{place}/{name}": content for name, content in good.items()}
        if sample == _PAIR:
            del files[f"{place}/{JSON_NAME}"]
        links = {} if sample == _PAIR else {f"{_NAME}/{CURRENT}": f"generations/{_GENERATION}"}
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
        """Start with the files, or load them in a running service; then search."""
        logging.disable()
        if case.sample == _MAP:
            return _wrong_map(directory / _NAME / "generations" / _GENERATION)
        logos = _MANY_VALUES if case.sample in (_NEW_LONG, _LONG_AT_START) else _FEW_VALUES
        if case.sample in _ALLOWED_AT_START:
            return _wrong_answers(_open(directory, logos), logos, _ALLOWED_AT_START[case.sample])
        data = directory / "data"
        good = self._good_long if logos is _MANY_VALUES else self._good
        shutil.copytree(good, data, symlinks=True)
        catalog = _open(data, logos)
        (data / _NAME / CURRENT).unlink()
        shutil.copytree(directory / _NAME, data / _NAME, symlinks=True, dirs_exist_ok=True)
        catalog.refresh()
        wrong = _wrong_answers(catalog, logos, _is_right)
        if _NAME not in catalog.names():
            wrong.append("the loaded index is no longer used")
        return wrong


def _build(directory: Path, logos: _Logos) -> Manifest:
    blocks = [(_IDS, logos.vectors)]
    return build_index(directory, blocks, dim=logos.dim, rows=_LOGOS, trees=_TREES, jobs=1, seed=1)


def _build_lists(directory: Path, logos: _Logos) -> dict[str, bytes]:
    """Build an index of lists, and return its files."""
    directory.mkdir()
    with patch.multiple(centres, LISTED_FROM=0, LOGOS_A_LIST=_FEW):
        build_lists(directory, logos, logos.vectors_of, directory / "kept", jobs=1, seed=1)
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def _open(data: Path, logos: _Logos) -> IndexCatalog:
    return IndexCatalog(data, dim=logos.dim, default=_NAME, vectors=logos.vectors_of, search_k=_FEW)


def _wrong_map(generation: Path) -> list[str]:
    try:
        shown = read_map(generation)
    except IndexDamagedError:
        return []
    if shown is None or not np.array_equal(shown.logo_ids, _DRAWN.logo_ids):
        return ["the map shows other logos than were drawn"]
    return (
        [] if np.array_equal(shown.positions, _DRAWN.positions) else ["the map shows logos where they were not drawn"]
    )


def _wrong_answers(
    catalog: IndexCatalog, logos: _Logos, is_allowed: Callable[[Neighbours, int, _Logos], bool]
) -> list[str]:
    wrong: list[str] = []
    for name in catalog.names():
        for place in range(0, _LOGOS, 7):
            answers = _answers(catalog.get(name), logos, place)
            wrong += [
                f"a search for logo {_IDS[place]} returned {each}"
                for each in answers
                if not is_allowed(each, place, logos)
            ]
    return wrong


def _answers(index: SearchIndex, logos: _Logos, place: int) -> list[Neighbours]:
    logo_id = int(_IDS[place])
    answers = [index.nearest_to_vector(logos.vectors[place], count) for count in (1, 10, 1000)]
    if logo_id in index:
        answers += [index.nearest_to_logo(logo_id, count) for count in (1, 10, 1000)]
    return answers


def _is_anything(answer: Neighbours, place: int, logos: _Logos) -> bool:
    return True


def _is_known(answer: Neighbours, place: int, logos: _Logos) -> bool:
    return bool(np.isin(answer.logo_ids, _IDS).all())


def _is_measured(answer: Neighbours, place: int, logos: _Logos) -> bool:
    return _is_known(answer, place, logos) and _has_right_distances(answer, place, logos)


def _is_right(answer: Neighbours, place: int, logos: _Logos) -> bool:
    """Return whether the logo itself is first, and the others have the right distances; Annoy may miss some."""
    return _is_measured(answer, place, logos) and answer.logo_ids[0] == _IDS[place]


def _has_right_distances(answer: Neighbours, place: int, logos: _Logos) -> bool:
    distances = np.linalg.norm(logos.vectors_of(np.array(answer.logo_ids, np.int64)) - logos.vectors[place], axis=1)
    return bool(np.allclose(answer.distances, distances, atol=1e-4))


_ALLOWED_AT_START = {
    _AT_START: _is_known,
    _PAIR: _is_anything,
    _LISTS_AT_START: _is_measured,
    _LONG_AT_START: _is_measured,
}


def _another_target(chance: random.Random, older: str) -> tuple[str, str]:
    targets = [older, "generations", "generations/none", "..", ".", "/", CURRENT, "x" * 250, "\n", "/dev/zero", "/proc"]
    target = chance.choice(targets)
    return target, f"-> {target[:20]!r}"
