"""Which logo an item of an index is, and which item a logo is.

Engines number their items 0, 1, 2, …; `index.txt` lists the logo id of each, one a line, in that order. In memory an id
takes 12 bytes, so millions of logos take tens of megabytes and no time at start.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_LOGO_ID = 2**63 - 1
_FEW = 1000  # ids up to which a lookup one by one is faster


class LogoIds:
    """The ids of `n` items: `(n,)` distinct, positive 64-bit integers, in item order.

    Raises:
        ValueError: an id is not positive, or occurs twice.
    """

    def __init__(self, logo_ids: ArrayLike) -> None:
        self._ids = np.array(logo_ids, np.int64).reshape(-1)
        order = np.argsort(self._ids, kind="stable")
        ascending = self._ids[order]
        if len(ascending) and ascending[0] < 1:
            raise ValueError(f"{ascending[0]} is not a logo id: ids are positive")
        repeated = ascending[1:][ascending[1:] == ascending[:-1]]
        if len(repeated):
            raise ValueError(f"logo {repeated[0]} occurs twice")
        self._order = order.astype(np.int32)  # Annoy also counts items in 32 bits

    @classmethod
    def parse(cls, text: bytes) -> LogoIds:
        """Read the content of an `index.txt`.

        Raises:
            ValueError: a line is not a logo id, the last line is cut off, or an id occurs twice.
        """
        if text and not text.endswith(b"\n"):
            raise ValueError("its last line has no newline: it was truncated, or only the newline is missing")
        if text.translate(None, b"0123456789\n") or text.startswith(b"\n") or b"\n\n" in text:
            raise ValueError("it holds something other than one logo id a line")
        ids = np.fromstring(text, np.uint64, sep="\n")  # a number that is too large becomes the largest
        if len(ids) and ids.max() > MAX_LOGO_ID:
            raise ValueError("an id has more than 64 bits")
        return cls(ids)

    def format(self) -> bytes:
        """Return the content of an `index.txt`."""
        return "".join(f"{logo_id}\n" for logo_id in self._ids.tolist()).encode("ascii")

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, logo_id: int) -> bool:
        return self._find(logo_id) is not None

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of `(n,)` that are not items, in their order."""
        if len(logo_ids) <= _FEW:
            return np.array([logo_id for logo_id in logo_ids.tolist() if logo_id not in self], np.int64)
        return logo_ids[self.items_of(logo_ids) < 0]

    def items_of(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the items of logos, `(n,)`; -1 for an id that is no item."""
        if not len(self._ids):
            return np.full(len(logo_ids), -1)
        places = np.searchsorted(self._ids, logo_ids, sorter=self._order)
        items = self._order[np.minimum(places, len(self._ids) - 1)].astype(np.int64)
        return np.where(self._ids[items] == logo_ids, items, -1)

    def all(self) -> NDArray[np.int64]:
        """Return the ids of all items, `(n,)`, in item order."""
        return self._ids.copy()

    def item_of(self, logo_id: int) -> int:
        """Return the item of a logo; `KeyError` if it has none."""
        item = self._find(logo_id)
        if item is None:
            raise KeyError(logo_id)
        return item

    def ids_of(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids, `(n,)`, of the logos that items are."""
        return self._ids[items]

    def of_items(self, items: NDArray[np.int64]) -> list[int]:
        """Return the logos of items."""
        logo_ids: list[int] = self._ids[items].tolist()
        return logo_ids

    def random(self) -> int | None:
        """Return a random id; `None` if there is none."""
        return int(self._ids[secrets.randbelow(len(self))]) if len(self) else None

    def _find(self, logo_id: int) -> int | None:
        place = bisect_left(self._order, logo_id, key=self._ids.__getitem__)
        if place == len(self._ids) or self._ids[self._order[place]] != logo_id:
            return None
        return int(self._order[place])


class IndexedLogos:
    """Methods that engines share, using the logos in `_logo_ids`."""

    _logo_ids: LogoIds

    def __len__(self) -> int:
        return len(self._logo_ids)

    def __contains__(self, logo_id: int) -> bool:
        return logo_id in self._logo_ids

    def absent(self, logo_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids that are not indexed."""
        return self._logo_ids.absent(logo_ids)

    def random_logo(self) -> int | None:
        """Return the id of a random indexed logo; `None` if the index is empty."""
        return self._logo_ids.random()
