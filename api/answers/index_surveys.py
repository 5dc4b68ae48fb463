"""The surveys of the indexes' distances, each read and checked once and then kept in memory."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from pathlib import Path

from index.distances.survey_file import Survey, read_survey, survey_stamp
from index.errors import IndexDamagedError
from index.status import IndexStatus

logger = logging.getLogger(__name__)

_KEPT = 8  # surveys, of a few MB each at most


class IndexSurveys:
    """Reads surveys and keeps the last few. Threads may share it.

    A survey is added to its generation after the index is already served, so each request checks whether the file has
    changed. A damaged survey is logged once and counts as missing.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._known: OrderedDict[Path, tuple[object, Survey | None]] = OrderedDict()

    def of(self, status: IndexStatus) -> Survey | None:
        """Return the survey of the generation that an index serves; `None` if it has none."""
        generation = status.directory
        if generation is None:
            return None
        with self._mutex:
            stamp = survey_stamp(generation)
            known = self._known.get(generation)
            if known is None or known[0] != stamp:
                known = self._known[generation] = stamp, _read(generation)
            self._known.move_to_end(generation)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return known[1]


def _read(generation: Path) -> Survey | None:
    try:
        return read_survey(generation)
    except IndexDamagedError as error:
        logger.error("%s; the next `generate-index` measures again", error)  # noqa: TRY400 - a traceback adds nothing
        return None
