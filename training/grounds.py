"""Photographs from a folder of the operator, to print rendered logos on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SHARE = 0.5  # of all backgrounds; the others are drawn
SMALLEST_PART = 0.3  # of the side of the photograph that limits the part
TINTED = 0.5  # share of photographs tinted towards the colour under the label


class GroundsError(Exception):
    """The folder of photographs is empty, or a file in it cannot be read."""


class Grounds:
    """A folder tree of photographs, of which random parts become backgrounds.

    Args:
        folder: holds files ending in one of `SUFFIXES`.

    Raises:
        GroundsError: the folder holds no such file.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not self._paths:
            raise GroundsError(f"{folder} holds no photographs: put files ending in {', '.join(SUFFIXES)} there")

    @property
    def fingerprint(self) -> str:
        """A short digest of the names and sizes of the photographs, independent of the folder's path."""
        listed = sorted(f"{path.name} {path.stat().st_size}" for path in self._paths)
        return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]

    def draw(
        self, height: int, width: int, colour: tuple[int, int, int], rng: np.random.Generator
    ) -> npt.NDArray[np.float32] | None:
        """Return a part of a photograph, `(height, width, 3)` float32 RGB from 0 to 255; None if it is to be drawn.

        Raises:
            GroundsError: a file is not a photograph.
        """
        if rng.random() >= SHARE:
            return None
        path = self._paths[int(rng.integers(len(self._paths)))]
        photo = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        if photo is None:
            raise GroundsError(f"{path} cannot be read as a photograph: remove it")
        tall, wide = photo.shape[:2]
        scale = min(tall / height, wide / width) * float(rng.uniform(SMALLEST_PART, 1.0))
        part_height, part_width = max(2, int(height * scale)), max(2, int(width * scale))
        top = int(rng.integers(max(1, tall - part_height + 1)))
        left = int(rng.integers(max(1, wide - part_width + 1)))
        part = photo[top : top + part_height, left : left + part_width]
        how = cv2.INTER_AREA if scale > 1.0 else cv2.INTER_LINEAR
        ground = np.asarray(cv2.resize(part, (width, height), interpolation=how), dtype=np.float32)
        if rng.random() < TINTED:
            ground += (np.array(colour, dtype=np.float32) - ground) * np.float32(rng.uniform(0.2, 0.7))
        return ground
