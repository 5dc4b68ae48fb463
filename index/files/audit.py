"""Check every file of every index against its checksum, for `manage.py verify`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from index.distances.survey_file import read_survey
from index.errors import IndexDamagedError
from index.files.generations import current_generation, list_generations
from index.files.manifest import BIN_NAME, TXT_NAME
from index.files.verification import verify_files
from index.map.map_file import MapFile


def audit(
    index_dirs: Iterable[Path], *, dim: int, progress: Callable[[int], None] = lambda _bytes: None
) -> Iterator[tuple[Path, str | None]]:
    """Yield each generation and each original pair of some indexes, and its damage, if any.

    The target of a `current` link is included, even if it is missing.

    Args:
        index_dirs: the directories of the indexes; see `index_directories`.
        dim: the number of values that a vector must have.
        progress: called with the number of bytes just read.
    """
    for index_dir in index_dirs:
        try:
            directories = _sources(index_dir)
        except OSError as error:
            yield index_dir, f"{index_dir} cannot be read: {error.strerror}"
            continue
        for directory in directories:
            yield directory, _trouble(directory, dim, progress)


def _sources(index_dir: Path) -> list[Path]:
    directories = list_generations(index_dir)
    current = current_generation(index_dir)
    if current is not None and current not in directories:
        directories.append(current)
    if (index_dir / BIN_NAME).exists() or (index_dir / TXT_NAME).exists():
        directories.append(index_dir)
    return directories


def _trouble(directory: Path, dim: int, progress: Callable[[int], None]) -> str | None:
    try:
        verify_files(directory, dim=dim, digests=True, progress=progress)
        MapFile.read(directory)  # if it has one
        read_survey(directory)  # the same
    except IndexDamagedError as error:
        return str(error)
    return None
