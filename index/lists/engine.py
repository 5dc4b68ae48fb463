"""The engine of the default index: four sieves, each finer than the one before and more expensive per logo.

1.  The query is compared with the centres of the lists, the vectors of Annoy's file. It scans the nearest lists first,
    and others if its neighbours are far (`index.lists.reach`).
2.  faiss scans the 4-bit codes of the logos in them (`index.lists.codes`) and keeps some hundred candidates or more.
3.  The candidates are ranked by their records, of 8 or 4 bits a component (`index.lists.records`).
4.  The best are measured on their vectors, in the store (`index.lists.rows`) or, if few logos are indexed, in a copy
    (`index.lists.vectors_file`).

So all returned distances are exact, and the vectors, by far the largest part, need not be in memory. If all lists are
scanned, or all logos are candidates, the sieves before are skipped.
"""

from __future__ import annotations

import copy
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.errors import IndexDamagedError, VectorUnavailableError
from index.files.logo_ids import IndexedLogos
from index.files.manifest import BIN_NAME, CODES_NAME, RECORDS_NAME, VECTORS_NAME
from index.files.verification import VerifiedFiles, identity
from index.lists.batch import Prefetched, in_threads
from index.lists.centres import Centres
from index.lists.codes import Codes
from index.lists.effort import TUNED_FOR, Effort
from index.lists.filtered import filtered_effort
from index.lists.mask import FEWEST, Mask, MaskedLogoIds
from index.lists.reach import FIRST, Reach, lists_to_scan
from index.lists.records import MANY, Ranked, RecordFormat, nearest_of
from index.lists.rows import Measured, measure_stored
from index.lists.sharing import begun, shared
from index.lists.vectors_file import VectorsFile
from index.protocol import Neighbours, SearchIndex, Vectors
from index.vectors import as_query, check_count, usable_rows

_SHARED_FROM = 80  # lists: for fewer, waking a thread costs about as much as it saves
_OF_A_SHARE = 1.3  # times its part of all candidates: the lists of some share hold more of the nearest
_WIDENED, _WIDER = 3, 4  # how often and how much a search is widened if it finds too few; the last time to all lists

Found = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Items and their distances, nearest first."""


@dataclass(frozen=True, slots=True)
class Sieves:
    """The parts of an index of lists that are searched before vectors are read.

    Attributes:
        centres: of the lists.
        codes: of the logos in them.
        records: (n, bytes) of each item.
        format: of the records.
        coded: number of components in centres and codes.
        vectors: a copy of all vectors; `None` if only the store has them.
        reaches: how far queries look.
        mask: the items that are searched; `None` for all.
    """

    centres: Centres
    codes: Codes
    records: NDArray[np.uint8]
    format: RecordFormat
    coded: int
    vectors: VectorsFile | None
    reaches: tuple[Reach, ...] = ()
    mask: Mask | None = None

    @classmethod
    def load(cls, directory: Path, files: VerifiedFiles) -> Sieves:
        """Load and map verified files.

        Raises:
            IndexDamagedError: they belong to no index of lists, or were replaced or damaged meanwhile.
        """
        if files.lists is None:
            raise IndexDamagedError(f"{directory} holds no index of lists")
        record, items = files.lists.record, len(files.logo_ids)
        centres = Centres(directory / BIN_NAME, record.coded)
        shape = items, record.count, record.coded
        try:
            if identity((directory / BIN_NAME).stat()) != files.identity:
                raise IndexDamagedError(f"{directory / BIN_NAME} was replaced while it was read")
            codes = Codes.load(directory / CODES_NAME, sha256=record.codes.sha256, shape=shape)
        except OSError as error:
            raise IndexDamagedError(f"{directory} cannot be read: {error}") from error
        records = _mapped(directory / RECORDS_NAME, items, files.lists.format.row_bytes)
        vectors = None if record.vectors is None else VectorsFile(directory / VECTORS_NAME, items, files.dim)
        if len(centres) != record.count:
            raise IndexDamagedError(f"{directory / BIN_NAME} holds another number of centres than there are lists")
        return cls(centres, codes, records, files.lists.format, record.coded, vectors, record.reaches)

    def nearest(
        self, vectors: NDArray[np.float32], effort: Effort, count: int, *, threads: int = 1
    ) -> list[NDArray[np.int64]]:
        """Return the items to measure for `count` neighbours, rising, for each of `(n, dim)` queries.

        Threads share the lists: each scans its own, and ranks the candidates in them. Which lists, the first components
        say; meanwhile, a thread computes the others.
        """
        project, wanted = self.format.components.project, effort.candidates_for(count)
        others = (begun if threads > 1 else partial)(partial(project, vectors, slice(self.coded, None)))
        queries = project(vectors, slice(self.coded))
        if wanted >= (len(self.records) if self.mask is None else self.mask.count):
            items = np.arange(len(self.records)) if self.mask is None else self.mask.items()
            found = [[self._ranked(query, items) for query in np.hstack([queries, others()])]]
        else:
            lists = self._lists(queries, effort, count)
            projected = np.hstack([queries, others()])
            shares = threads if lists.shape[1] >= _SHARED_FROM else 1
            of_share = wanted if shares == 1 else min(wanted, ceil(_OF_A_SHARE * wanted / shares))

            def ranked(some: NDArray[np.int64]) -> list[Ranked]:
                scanned = self.codes.scan(queries, some, of_share, self.mask)
                return [self._ranked(*of_query) for of_query in zip(projected, scanned.items, strict=True)]

            found = shared(ranked, [lists[:, share::shares] for share in range(shares)])
        return [nearest_of(of_query, effort.measured_for(count)) for of_query in zip(*found, strict=True)]

    def _lists(self, queries: NDArray[np.float32], effort: Effort, count: int) -> NDArray[np.int64]:
        """Return the lists to scan for each of `(n, coded)` queries, nearest first; -1 after the last."""
        if effort.probed >= len(self.centres):
            return np.tile(np.arange(len(self.centres)), (len(queries), 1))
        lists, squares = self.centres.nearest(queries)
        reaches = () if self.mask is not None else self.reaches  # of those that match a filter, most are far
        last = None
        if reaches:
            found = self.codes.scan(queries, lists[:, :FIRST], max(count, TUNED_FOR))
            last = found.squares.max(axis=1)
        numbers = lists_to_scan(reaches, effort.probed, squares, last)
        lists = lists[:, : numbers.max()]
        return np.where(np.arange(lists.shape[1]) < numbers[:, np.newaxis], lists, -1)

    def _ranked(self, query: NDArray[np.float32], items: NDArray[np.int64]) -> Ranked:
        """Rank the candidates, -1 for none, of a `(components,)` query."""
        items = items if len(items) == 0 or items.min() >= 0 else items[items >= 0]
        return Ranked(items, self.format.estimates(query, self.records, items))


class ListsSearchIndex(IndexedLogos):
    """An index of lists; `of` makes one.

    Args:
        sieves: what is searched before vectors are read.
        files: its verified files.
        effort: of a query.
        vectors: returns the vectors of logos.
        threads: how many threads share the lists of a query of many logos.
    """

    def __init__(
        self, sieves: Sieves, files: VerifiedFiles, effort: Effort, vectors: Vectors, *, threads: int = 1
    ) -> None:
        self.trees = files.trees
        self.recall = files.recall
        self.built_at = files.built_at
        self.dim = files.dim
        self._sieves = sieves
        self._logo_ids = files.logo_ids
        self._effort = effort
        self._filtered = files.lists.record.filtered if files.lists is not None else ()
        self._vectors = vectors
        self._threads = threads if len(sieves.records) >= MANY else 1

    @classmethod
    def of(
        cls,
        directory: Path,
        files: VerifiedFiles,
        vectors: Vectors,
        *,
        candidates: int | None = None,
        threads: int = 1,
    ) -> ListsSearchIndex:
        """Load verified files.

        Args:
            directory: the directory of the files.
            files: the verified files.
            vectors: returns the vectors of logos.
            candidates: number of logos that a query ranks, overriding the number found by the build.
            threads: see `ListsSearchIndex`.

        Raises:
            IndexDamagedError: they belong to no index of lists, or were replaced or damaged meanwhile.
        """
        sieves = Sieves.load(directory, files)
        assert files.lists is not None
        effort = files.lists.record.effort
        effort = effort if candidates is None else effort.with_candidates(candidates)
        return cls(sieves, files, effort, vectors, threads=threads)

    def nearest_to_logo(self, logo_id: int, count: int) -> Neighbours:
        """Return the `count` nearest logos to an indexed one: itself first, at distance 0."""
        check_count(count)
        item = self._logo_ids.item_of(logo_id)
        vector = self._vector(item, logo_id)
        if vector is None:
            raise VectorUnavailableError(f"the vector of logo {logo_id} cannot be read, or is no longer stored")
        return self._itself_first(item, logo_id, self._search(vector[np.newaxis], count)[0], count)

    def nearest_to_vector(self, vector: NDArray[np.float32], count: int) -> Neighbours:
        """Return the `count` nearest logos to a `(dim,)` float32 vector."""
        check_count(count)
        items, distances = self._search(as_query(vector, self.dim)[np.newaxis], count)[0]
        return Neighbours(self._logo_ids.of_items(items), distances.tolist())

    def prefetched(self, logo_ids: Sequence[int], count: int) -> SearchIndex:
        """Search for these logos at once, on all processors, and return an index that holds the results."""
        check_count(count)
        items = {logo_id: self._logo_ids.item_of(logo_id) for logo_id in logo_ids if logo_id in self}
        vectors = {logo_id: self._vector(item, logo_id) for logo_id, item in items.items()}
        usable = {logo_id: vector for logo_id, vector in vectors.items() if vector is not None}
        if not usable:
            return self
        found = in_threads(lambda some: self._search(some, count), np.stack([*usable.values()]))
        answers = {
            logo_id: self._itself_first(items[logo_id], logo_id, nearest, count)
            for logo_id, nearest in zip(usable, found, strict=True)
        }
        return Prefetched(self, count, answers)

    def among(self, logo_ids: NDArray[np.int64]) -> ListsSearchIndex | None:
        """Return an index of those of some logos, `(n,)`, that are indexed; `None` if they are too few for a mask."""
        items = self._logo_ids.items_of(logo_ids)
        mask = Mask.of(items[items >= 0], len(self._logo_ids))
        return self.masked(mask) if mask.count >= FEWEST else None

    def masked(self, mask: Mask, effort: Effort | None = None) -> ListsSearchIndex:
        """Return an index of only the items of a mask, with the effort of this one unless another is given."""
        index = copy.copy(self)
        index._sieves = replace(self._sieves, mask=mask)
        index._logo_ids = MaskedLogoIds(self._logo_ids, mask)
        lists = len(self._sieves.centres)
        index._effort = effort or filtered_effort(self._effort, self._filtered, mask.count / mask.total, lists)
        return index

    def _vector(self, item: int, logo_id: int) -> NDArray[np.float32] | None:
        """Return the vector of a logo, `(dim,)`; `None` if it is damaged or not stored."""
        copied = self._sieves.vectors
        vector = None if copied is None else copied.vector(item)
        if vector is None:
            vector = self._vectors(np.array([logo_id]))[0]
        return vector if usable_rows(vector[np.newaxis])[0] else None

    def _measure(self, query: NDArray[np.float32], items: NDArray[np.int64]) -> Measured:
        copied = self._sieves.vectors
        if copied is not None:
            return copied.measure(query, items)
        return measure_stored(self._vectors, query, self._logo_ids.ids_of(items))

    def _itself_first(self, item: int, logo_id: int, found: Found, count: int) -> Neighbours:
        # Duplicates of its vector may come before it, and an approximate search may have missed it.
        items, distances = found
        others = items != item
        return Neighbours(
            [logo_id, *self._logo_ids.of_items(items[others][: count - 1])],
            [0.0, *distances[others][: count - 1].tolist()],
        )

    def _search(self, queries: NDArray[np.float32], count: int) -> list[Found]:
        """Find the `count` nearest items to each of `(n, dim)` queries; fewer if too few vectors can be read."""
        threads = self._threads if len(queries) == 1 else 1  # several queries are searched for in threads anyway
        items = self._sieves.nearest(queries, self._effort, count, threads=threads)
        return [self._nearest(*query, count) for query in zip(queries, items, strict=True)]

    def _nearest(self, query: NDArray[np.float32], items: NDArray[np.int64], count: int) -> Found:
        """Measure items; look for others with more effort if too few of them can be read, or match a filter."""
        effort = self._effort
        for wider in range(_WIDENED + 1):
            if wider:
                effort = effort.times(_WIDER)
                if wider == _WIDENED:
                    effort = replace(effort, probed=len(self._sieves.centres))
                items = self._sieves.nearest(query[np.newaxis], effort, count)[0]
            places, distances = self._measure(query, items).nearest(count)
            if len(places) >= count or len(items) >= len(self):
                break
        return items[places], distances


def _mapped(path: Path, rows: int, row_bytes: int) -> NDArray[np.uint8]:
    """Map a file that was just read through; single rows of it are read from now on."""
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        content.madvise(mmap.MADV_RANDOM)
    except (OSError, ValueError) as error:
        raise IndexDamagedError(f"{path} cannot be loaded: {error}") from error
    if len(content) != rows * row_bytes:
        raise IndexDamagedError(f"{path} was replaced while it was read")
    return np.frombuffer(content, np.uint8).reshape(rows, row_bytes)
