"""The ids of the logos that a store held at one moment, in one bit a row.

Once a row is used, its id slot can only change its sign, when the logo is deleted. So the ids need not be copied: it is
enough to keep which rows held logos, and the open file, however long it takes to read them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import StoreUnavailableError
from embeddings.store.seen_rows import BLOCK, SeenRows


class StoredIds:
    """Ids of logos, in the order they were stored. They stay the same whatever happens to the store.

    Attributes:
        nbytes: the memory they take, in bytes.
    """

    def __init__(self, seen: SeenRows) -> None:
        self._file = seen.file
        self._end = seen.end
        self._live = [np.packbits(slots > 0) for slots in seen.blocks(0, seen.end)]
        self.nbytes = sum(bits.nbytes for bits in self._live)

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """Yield the ids, `BLOCK` or fewer at a time.

        Raises:
            StoreUnavailableError: they cannot be read, or a repair has just quarantined one of the rows.
        """
        for number, bits in enumerate(self._live):
            slots = self._file.ids(number * BLOCK, min((number + 1) * BLOCK, self._end))
            ids = np.abs(slots[np.unpackbits(bits, count=len(slots)).view(bool)])
            if len(ids) and ids.min() < 1:
                raise StoreUnavailableError(f"{self._file.path} was repaired while its ids were read: try again")
            yield ids
