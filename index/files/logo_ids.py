"""Which logo an item of an index is, and which item a logo is.

Engines number their items 0, 1, 2, …; `index.txt` lists the logo id of each, one a line, in that order.
In memory an id costs 12 bytes, so that millions of logos cost tens of megabytes and no time at start.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_LOGO_ID = 2**63 - 1
_FEW = 1000  # ids that are sooner looked up one by one


class LogoIds:
    """The ids of `n` items: `(n,)` distinct, positive 64-bit integers, in item order.

    Raises:
        ValueError: an id is not positive, or there twice.
    """

    def __init__(self, logo_ids: ArrayLike) -> None:
        self._ids = np.array(logo_ids, np.int64).reshape(-1)
        order = np.argsort(self._ids, kind="stable")
        ascending = self._ids[order]
        if len(ascending) and ascending[0] < 1:
            raise ValueError(f"{ascending[0]} is no logo id: ids are positive")
        repeated = ascending[1:][ascending[1:] == ascending[:-1]]
        if len(repeated):
            raise ValueError(f"logo {repeated[0]} is there twice")
        self._order = order.astype(np.int32)  # Annoy counts items in 32 bits, too

    @classmethod
    def parse(cls, text: bytes) -> LogoIds:
        """Read the content of an `index.txt`.

        Raises:
            ValueError: a line is not a logo id, the last line is cut off, or an id is there twice.
        """
        if text and not text.endswith(b"\n"):
            raise ValueError("its last line has no end: it was cut, or, if you know that it is whole, lacks a newline")
        if text.translate(None, b"0123456789\n") or text.startswith(b"\n") or b"\n\n" in text:
            raise ValueError("it holds something else than one logo id a line")
        ids = np.fromstring(text, np.uint64, sep="\n")  # too large a number becomes the largest
        if len(ids) and ids.max() > MAX_LOGO_ID:
            raise ValueError("an id has more than 64 bits")
        return cls(ids)

    def format(self) -> bytes:
        """Write the content of an `index.txt`."""
        return "".join(f"{logo_id}\n" for logo_id in self._ids.tolist()).encode("ascii")

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, logo_id: int) -> bool:
        return self._find(logo_id) is not None

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Answer those of some ids, `(n,)`, that are no item, in their order."""
        if len(logo_ids) <= _FEW:
            return np.array([logo_id for logo_id in logo_ids.tolist() if logo_id not in self], np.int64)
        places = np.searchsorted(self._ids, logo_ids, sorter=self._order)
        places[places == len(self)] = 0
        return logo_ids[self._ids[self._order[places]] != logo_ids] if len(self) else logo_ids

    def all(self) -> NDArray[np.int64]:
        """Answer the ids of all items, `(n,)`, in item order."""
        return self._ids.copy()

    def item_of(self, logo_id: int) -> int:
        """Answer the item that a logo is; `KeyError` if it is none."""
        item = self._find(logo_id)
        if item is None:
            raise KeyError(logo_id)
        return item

    def ids_of(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids, `(n,)`, of the logos that items are."""
        return self._ids[items]

    def of_items(self, items: NDArray[np.int64]) -> list[int]:
        """Answer the logos that items are."""
        logo_ids: list[int] = self._ids[items].tolist()
        return logo_ids

    def random(self) -> int | None:
        """Answer any id; `None` if there is none."""
        return int(self._ids[secrets.randbelow(len(self))]) if len(self) else None

    def _find(self, logo_id: int) -> int | None:
        place = bisect_left(self._order, logo_id, key=self._ids.__getitem__)
        if place == len(self) or self._ids[self._order[place]] != logo_id:
            return None
        return int(self._order[place])


class IndexedLogos:
    """What engines have in common: they know which logos they hold, in `_logo_ids`."""

    _logo_ids: LogoIds

    def __len__(self) -> int:
        return len(self._logo_ids)

    def __contains__(self, logo_id: int) -> bool:
        return logo_id in self._logo_ids

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Answer those of some ids that are not indexed."""
        return self._logo_ids.absent(logo_ids)

    def random_logo(self) -> int | None:
        """Answer the id of any indexed logo; `None` if the index is empty."""
        return self._logo_ids.random()
