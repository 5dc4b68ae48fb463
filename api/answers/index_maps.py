"""The maps of the indexes, each read and checked once and then served from memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import falcon
import numpy as np
from numpy.typing import NDArray

from api.answers.generation_files import GenerationFiles
from api.answers.representation import Representation
from index.errors import IndexDamagedError
from index.map.logo_map import FEWEST_LOGOS
from index.map.map_file import MapFile, file_stamp
from index.status import IndexStatus

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexMap:
    """The map of an index, or the reason why it has none.

    Attributes:
        logo_ids: (n,) of the logos on the map; none without a map.
        answer: the map as it is sent; `None` without a map.
        lack: the reason, for the client; empty if there is a map.
    """

    logo_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    answer: Representation | None = None
    lack: str = ""

    @property
    def points(self) -> int:
        """The number of logos on the map; 0 without a map."""
        return len(self.logo_ids)


class IndexMaps:
    """The maps of indexes, kept in memory. A damaged map is logged once and counts as missing."""

    def __init__(self) -> None:
        self._files = GenerationFiles(file_stamp, _read)

    def of(self, status: IndexStatus) -> IndexMap:
        """Return the map of the generation that an index serves."""
        if status.directory is None:
            return IndexMap(lack="The index has no map; `manage.py generate-index` draws one.")
        return self._files.of(status.directory)


def _read(generation: Path) -> IndexMap:
    try:
        file = MapFile.read(generation)
    except IndexDamagedError as error:
        logger.error("%s; the next `generate-index` draws a new map", error)  # noqa: TRY400 - a traceback adds nothing
        return IndexMap(lack="The map of the index is damaged; the next `manage.py generate-index` draws a new one.")
    if file is None:
        return IndexMap(
            lack=f"The map is not drawn yet, the index has fewer than {FEWEST_LOGOS} logos, or ANN_MAP_POINTS is 0."
        )
    return IndexMap(file.logo_ids, Representation.of_gzip(file.compressed, falcon.MEDIA_JSON))
