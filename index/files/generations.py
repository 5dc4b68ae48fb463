"""Generations of an index: each is built aside, complete and synced before the `current` link points at it.

    <index>/generations/20250131T030000Z/{index.bin, index.txt, index.json, ...}
    <index>/generations/20250201T030000Z/…
    <index>/current -> generations/20250201T030000Z

Publishing takes these steps, so that a kill or a power cut between any two leaves the old `current` valid:

1. Under the index's lock, remove what killed builds left.
2. Build in `generations/.building-*`; every file is synced.
3. Rename that directory to the time in UTC, and sync `generations`: the generation is now durable.
4. Create a new link under another name, `os.replace` it over `current`, and sync the index directory: only now can a
   service see it.
5. Remove all but the newest generations. Each is first renamed, so that no listed generation is partial.

Removing files that a service has mapped does not disturb it: the kernel frees them when nothing maps them any more.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from durable import sync_directory
from index.files.build_lock import build_lock
from index.files.manifest import Manifest
from index.files.verification import GENERATIONS

logger = logging.getLogger(__name__)

CURRENT = "current"

_NAME = re.compile(r"\d{8}T\d{6}Z(-\d{3})?")
_TIME = "%Y%m%dT%H%M%SZ"
_LAST = "999"  # of one second; the next name uses the following second
_LOCK = ".generate.lock"
_NEW_LINK = ".current.new"
_BUILDING = ".building-"
_REMOVING = ".removing-"


def publish(index_dir: Path, build: Callable[[Path], Manifest], *, keep: int = 2, wait: bool = True) -> Path:
    """Build a generation and make it the current one.

    Args:
        index_dir: the directory of the index, created if missing.
        build: writes the files of a generation, synced, into the empty directory that it is given.
        keep: number of generations to keep, including the new one; at least 1.
        wait: whether to wait for another build of this index to end.

    Returns:
        The directory of the new generation.

    Raises:
        BuildInProgressError: another build of this index is running, and `wait` is false.
    """
    generations = index_dir / GENERATIONS
    generations.mkdir(parents=True, exist_ok=True)
    sync_directory(index_dir.parent)  # even if both exist: an earlier run may have been killed before it synced
    sync_directory(index_dir)
    with build_lock(index_dir / _LOCK, wait=wait):
        _sweep(index_dir)
        building = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=generations))
        try:
            building.chmod(0o755)
            build(building)
            sync_directory(building)
        except BaseException:
            shutil.rmtree(building)
            raise
        generation = building.rename(generations / _next_name(index_dir))
        sync_directory(generations)
        _point_current_at(generation)
        _prune(index_dir, keep)
    logger.info("published %s", generation)
    return generation


def index_directories(data_dir: Path) -> list[Path]:
    """Return the directories that may hold an index: all except hidden ones and a file system's `lost+found`."""
    if not data_dir.is_dir():
        return []
    names = [path for path in data_dir.iterdir() if not path.name.startswith(".") and path.name != "lost+found"]
    return sorted(path for path in names if path.is_dir())


def list_generations(index_dir: Path) -> list[Path]:
    """Return the directories of all complete generations, oldest first."""
    generations = index_dir / GENERATIONS
    if not generations.is_dir():
        return []
    return sorted(path for path in generations.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def current_generation(index_dir: Path) -> Path | None:
    """Return the directory that `current` points at, which may be missing; `None` if there is no such link."""
    link = index_dir / CURRENT
    return index_dir / link.readlink() if link.is_symlink() else None


def _next_name(index_dir: Path) -> str:
    """Return the time in UTC, or the next name after the newest generation if that is not later."""
    now = datetime.now(UTC).strftime(_TIME)
    newest = max((path.name for path in list_generations(index_dir)), default="")
    if now > newest:
        return now
    second, _, number = newest.partition("-")
    if number == _LAST:
        return (datetime.strptime(second, _TIME) + timedelta(seconds=1)).strftime(_TIME)
    return f"{second}-{int(number or 1) + 1:03d}"


def _point_current_at(generation: Path) -> None:
    index_dir = generation.parent.parent
    link = index_dir / _NEW_LINK
    link.symlink_to(Path(GENERATIONS, generation.name))
    link.replace(index_dir / CURRENT)
    sync_directory(index_dir)


def _prune(index_dir: Path, keep: int) -> None:
    for generation in list_generations(index_dir)[: -max(keep, 1)]:  # the last one is the current one
        shutil.rmtree(generation.rename(generation.with_name(_REMOVING + generation.name)))


def _sweep(index_dir: Path) -> None:
    (index_dir / _NEW_LINK).unlink(missing_ok=True)
    for pattern in (_BUILDING, _REMOVING):
        for left_over in (index_dir / GENERATIONS).glob(f"{pattern}*"):
            logger.info("removing %s, which a killed build left", left_over)
            shutil.rmtree(left_over)
