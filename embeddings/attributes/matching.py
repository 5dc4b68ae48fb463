"""Find the logos that match a filter, and keep their ids, as sorted arrays, until something changes."""

from __future__ import annotations

import functools
import operator
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embeddings.attributes.attribute_store import AttributeStore
from embeddings.attributes.filters import Condition
from embeddings.attributes.pairs import ValueState


class _Known(NamedTuple):
    """The logos that match, and what they were found from.

    Attributes:
        ids: (n,), ascending.
        state: of the value of a single condition; `None` if no logo has it.
        parts: the logos of each of several conditions.
    """

    ids: NDArray[np.int64]
    state: ValueState | None = None
    parts: tuple[NDArray[np.int64], ...] = ()


class MatchingLogos:
    """Finds the logos that match filters. Threads may share it.

    The logos of each condition are kept. A look at the database, which takes microseconds, tells whether other logos
    have the value now. Those that got it since are added; only if a logo lost it, all are read again.

    Args:
        store: the attributes.
        max_ids: the largest number of ids, of 8 bytes each, that are kept for all filters together. The least
            recently used are dropped first; those of the last filter are always kept.
    """

    def __init__(self, store: AttributeStore, *, max_ids: int = 1 << 24) -> None:
        self._store = store
        self._max_ids = max_ids
        self._mutex = threading.Lock()
        self._known: OrderedDict[tuple[Condition, ...], _Known] = OrderedDict()

    def ids(self, conditions: Sequence[Condition]) -> NDArray[np.int64]:
        """Return the ids of the logos for which all conditions hold: (n,), ascending, read-only.

        It is the same array until something changes, so callers can keep what they make from it.

        Args:
            conditions: at least one.

        Raises:
            DamagedAttributesError: the database is damaged.
            StoreUnavailableError: it cannot be read now.
        """
        wanted = tuple(conditions)
        parts = tuple(self._of_condition(condition) for condition in wanted)
        if len(parts) == 1:
            return parts[0]
        known = self._known.get(wanted)
        if known is None or not all(map(operator.is_, known.parts, parts)):
            known = _Known(functools.reduce(_intersection, sorted(parts, key=len)), parts=parts)
        return self._keep(wanted, known, at_least=len(parts) + 1)

    def _of_condition(self, condition: Condition) -> NDArray[np.int64]:
        known = self._known.get((condition,))
        state = self._store.state(condition.key, condition.value)
        if known is None or known.state != state:
            known = self._read(condition, known)
        return self._keep((condition,), known, at_least=1)

    def _read(self, condition: Condition, known: _Known | None) -> _Known:
        since = known.state if known is not None else None
        state, ids, complete = self._store.ids_since(condition.key, condition.value, since)
        if known is not None and not complete:
            ids = np.sort(np.concatenate([known.ids, ids]), kind="stable")  # which merges what is sorted
        return _Known(ids, state)

    def _keep(self, conditions: tuple[Condition, ...], known: _Known, *, at_least: int) -> NDArray[np.int64]:
        """Keep what was found, drop what was least recently used, and return the ids."""
        known.ids.flags.writeable = False
        with self._mutex:
            self._known[conditions] = known
            self._known.move_to_end(conditions)
            kept = sum(len(of.ids) for of in self._known.values())
            while kept > self._max_ids and len(self._known) > at_least:
                kept -= len(self._known.popitem(last=False)[1].ids)
        return known.ids


def _intersection(few: NDArray[np.int64], many: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ids that two ascending arrays share; the first one is the shorter."""
    if not len(many):
        return many[:0].copy()
    places = np.minimum(many.searchsorted(few), len(many) - 1)
    both: NDArray[np.int64] = few[many[places] == few]
    return both
