"""The surveys of the indexes' distances, each read and checked once and then kept in memory."""

from __future__ import annotations

import logging
from pathlib import Path

from api.answers.generation_files import GenerationFiles
from index.distances.survey_file import Survey, read_survey, survey_stamp
from index.errors import IndexDamagedError
from index.status import IndexStatus

logger = logging.getLogger(__name__)


class IndexSurveys:
    """The surveys of indexes, kept in memory. A damaged survey is logged once and counts as missing."""

    def __init__(self) -> None:
        self._files = GenerationFiles(survey_stamp, _read)

    def of(self, status: IndexStatus) -> Survey | None:
        """Return the survey of the generation that an index serves; `None` if it has none."""
        return None if status.directory is None else self._files.of(status.directory)


def _read(generation: Path) -> Survey | None:
    try:
        return read_survey(generation)
    except IndexDamagedError as error:
        logger.error("%s; the next `generate-index` measures again", error)  # noqa: TRY400 - a traceback adds nothing
        return None
