"""What a fuzzer needs to know about a kind of files."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torture.fuzz_child import Limits


@dataclass(frozen=True, slots=True)
class Case:
    """Hostile files.

    Attributes:
        number: its number; the same seed and number give the same files.
        sample: the name of the good files that it was made from.
        changes: what was done to them.
        files: the content of the files, by their paths within a directory.
        links: the targets of symbolic links, by their paths.
    """

    number: int
    sample: str
    changes: str
    files: dict[str, bytes]
    links: dict[str, str] = field(default_factory=dict)


class Kind(Protocol):
    """A kind of files, and the code that reads them.

    Attributes:
        samples: the names of the good files.
        limits: for one hostile case.
    """

    samples: list[str]
    limits: Limits

    def spoil(self, number: int, sample: str, chance: random.Random) -> Case:
        """Return a hostile case made from a good sample."""

    def attempt(self, case: Case, directory: Path) -> list[str]:
        """Use the files in an empty directory as the product does, and return what went wrong."""
