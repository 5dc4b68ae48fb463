"""The maps of the indexes that answer, each read and checked once, and then answered from memory."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import falcon

from api.answers.representation import Representation
from index.errors import IndexDamagedError
from index.map.logo_map import FEWEST_LOGOS
from index.map.map_file import MapFile, file_stamp
from index.status import IndexStatus

logger = logging.getLogger(__name__)

_KEPT = 8  # maps: some 200 KB each


@dataclass(frozen=True, slots=True)
class IndexMap:
    """What can be said of the map of an index.

    Attributes:
        points: logos on it; 0 if there is none.
        answer: its bytes; `None` if there is none.
        lack: why there is none.
    """

    points: int = 0
    answer: Representation | None = None
    lack: str = ""


class IndexMaps:
    """Threads may share it.

    A map is put into its generation some time after the index is served, so each request looks whether the file is
    another one than the last time: the search itself never does. A damaged map is logged once, and is as good as none.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._known: OrderedDict[Path, tuple[object, IndexMap]] = OrderedDict()

    def of(self, status: IndexStatus) -> IndexMap:
        """Answer the map of the generation that an index answers from."""
        generation = status.directory
        if generation is None:
            return IndexMap(lack="It has no map: one is drawn by `manage.py generate-index`.")
        with self._mutex:
            stamp = file_stamp(generation)
            known = self._known.get(generation)
            if known is None or known[0] != stamp:
                known = self._known[generation] = stamp, _read(generation)
            self._known.move_to_end(generation)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return known[1]


def _read(generation: Path) -> IndexMap:
    try:
        file = MapFile.read(generation)
    except IndexDamagedError as error:
        logger.error("%s; the next `generate-index` draws another", error)  # noqa: TRY400 - it says it all
        return IndexMap(lack="Its map is damaged; the next `manage.py generate-index` draws another.")
    if file is None:
        return IndexMap(lack=f"Its map is being drawn, or it has under {FEWEST_LOGOS} logos, or ANN_MAP_POINTS is 0.")
    return IndexMap(file.points, Representation.of_gzip(file.compressed, falcon.MEDIA_JSON))
