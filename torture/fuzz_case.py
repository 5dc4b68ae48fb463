"""What a fuzzer needs to know of a kind of files."""

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
        number: which one it is; with the seed it gives the same again.
        sample: the name of the good files that it was made of.
        changes: what was done to them.
        files: what is in the files, by their paths within a directory.
        links: where symbolic links there point to, by their paths.
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
        limits: what one hostile case may cost.
    """

    samples: list[str]
    limits: Limits

    def spoil(self, number: int, sample: str, chance: random.Random) -> Case:
        """Make a hostile case of a good sample."""

    def attempt(self, case: Case, directory: Path) -> list[str]:
        """Do to the files in an empty directory what the product does, and return what it may not do."""
