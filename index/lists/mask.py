"""Search only some logos of an index of lists: faiss skips the codes of the others, so none of them is a candidate.

A bit for each item says whether it is searched. A query costs no more than one of all logos, and finds `count`
neighbours whenever that many are searched: it is widened until it does.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.files.logo_ids import LogoIds

FEWEST = 2_000
"""Logos below which a mask is of no use: their vectors are scanned in the time of a query."""


@dataclass(frozen=True, slots=True)
class Mask:
    """The items that are searched.

    Attributes:
        bits: a bit for each item of the index, the first item in the lowest bit of the first byte.
        total: number of items of the index.
        count: number of items that are searched.
    """

    bits: NDArray[np.uint8]
    total: int
    count: int

    @classmethod
    def of(cls, items: NDArray[np.int64], total: int) -> Self:
        """Return the mask of distinct items `(n,)` out of `total`."""
        searched = np.zeros(total, bool)
        searched[items] = True
        return cls(np.packbits(searched, bitorder="little"), total, len(items))

    def items(self) -> NDArray[np.int64]:
        """Return the items that are searched, `(count,)`, ascending."""
        return np.flatnonzero(np.unpackbits(self.bits, count=self.total, bitorder="little").view(bool))

    def has(self, items: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some items `(n,)` are searched."""
        flags: NDArray[np.bool_] = (self.bits[items >> 3] >> (items & 7).astype(np.uint8) & 1).astype(bool)
        return flags


class MaskedLogoIds(LogoIds):
    """The ids of an index, of which only those of a mask count as indexed. Items keep their numbers.

    Args:
        logo_ids: of all items.
        mask: the items that are searched.
    """

    def __init__(self, logo_ids: LogoIds, mask: Mask) -> None:
        self._ids, self._order = logo_ids._ids, logo_ids._order
        self._mask = mask

    def __len__(self) -> int:
        return self._mask.count

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of `(n,)` that are not searched, in their order."""
        items = self.items_of(logo_ids)
        searched = (items >= 0) & self._mask.has(np.maximum(items, 0))
        absent: NDArray[np.int64] = logo_ids[~searched]
        return absent

    def random(self) -> int | None:
        """Return the id of a random logo that is searched; `None` if there is none."""
        items = self._mask.items()
        return int(self._ids[items[secrets.randbelow(len(items))]]) if len(items) else None

    def _find(self, logo_id: int) -> int | None:
        item = super()._find(logo_id)
        return item if item is not None and self._mask.has(np.array([item]))[0] else None
