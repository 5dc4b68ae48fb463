"""Load the index in a directory with the engine that its files were made for."""

from __future__ import annotations

from pathlib import Path

from index.annoy.engine import SEARCH_K_FLOOR, AnnoySearchIndex, Effort
from index.errors import IndexDamagedError
from index.files.verification import verify_files
from index.lists.engine import ListsSearchIndex
from index.protocol import Vectors

LoadedIndex = AnnoySearchIndex | ListsSearchIndex


def load_index(
    directory: Path,
    *,
    dim: int,
    vectors: Vectors | None = None,
    search_k: int | None = None,
    search_k_floor: int = SEARCH_K_FLOOR,
    query_threads: int = 1,
    weights_digest: str = "",
    digests: bool = False,
) -> LoadedIndex:
    """Verify the files of a directory (see `index.files.verification.verify_files`) and map them.

    Args:
        directory: holds a generation, or the original's pair.
        dim: the number of values in a vector.
        vectors: returns the vectors of logos; only indexes of lists need it.
        search_k: nodes that Annoy inspects, or logos that an index of lists ranks, for every query, overriding the
            number measured when the index was built.
        search_k_floor: see `index.annoy.engine.SEARCH_K_FLOOR`.
        query_threads: see `index.lists.engine.ListsSearchIndex`.
        weights_digest: of the model that made the store's vectors; empty if unknown.
        digests: whether to check the digests of all files too.

    Raises:
        IndexDamagedError: the files are missing, broken, or do not belong together.
    """
    files = verify_files(directory, dim=dim, weights_digest=weights_digest, digests=digests)
    if files.lists is None:
        return AnnoySearchIndex.of(directory, files, Effort(search_k, files.measured_effort, search_k_floor))
    if vectors is None:
        raise IndexDamagedError(f"{directory} holds an index of lists, which is searched with the store at hand")
    return ListsSearchIndex.of(directory, files, vectors, candidates=search_k, threads=query_threads)
