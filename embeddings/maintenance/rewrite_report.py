"""What a migration or compaction did with the rows of a store."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from embeddings.store.damaged_rows import some_ids

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RewriteReport:
    """Counts of the old file's rows, by what happened to them.

    Attributes:
        rows: logos in the new file.
        duplicates: rows skipped because a later row holds the same logo, as the original's files may.
        damaged: rows skipped because they cannot be read or disagree with their checksum.
        ignored: rows skipped because their id is negative (a deleted logo), or zero with used rows after it.
        not_finite: logos kept although their embedding holds a NaN or an infinity.
        capacity: rows of the new file.
        kept_as: the path of the old file, if it was kept.
    """

    rows: int
    duplicates: int
    damaged: int
    ignored: int
    not_finite: int
    capacity: int
    kept_as: Path | None

    def log(self, path: Path, *, damaged: list[int], not_finite: list[int]) -> None:
        """Log this report on the store at `path`, with the ids of damaged rows and of embeddings not finite."""
        logger.info("%s now holds %d logos and has %d rows", path, self.rows, self.capacity)
        if self.kept_as:
            logger.info("Kept the old file as %s", self.kept_as)
        if self.duplicates:
            logger.warning("Left out %d rows of logos that a later row holds", self.duplicates)
        if damaged:
            logger.error("Left out %d damaged rows, of logos %s", len(damaged), some_ids(damaged))
        if not_finite:
            logger.warning("%d logos have embeddings that are not finite: %s", len(not_finite), some_ids(not_finite))
