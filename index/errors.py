"""Errors between vectors and neighbours.

SearchError
├── UnknownIndexError      no index has this name
├── IndexUnavailableError  the index exists, but cannot be served for now
│   └── EngineError            Milvus refused a call
│       └── EngineUnreachableError  it did not answer
│           └── EngineTimeoutError  it did not answer in time
├── IndexDamagedError      the files of an index are missing, broken, or do not belong together
├── IndexBuildError        an index cannot be built from this input
│   └── BuildInProgressError   another build of this index is running
├── VectorUnavailableError the vector of an indexed logo is damaged or no longer stored
├── DimensionError         a query vector has another number of values than the index
└── UnusableVectorError    no distance can be computed from a query vector; also a ValueError
"""

from __future__ import annotations


class SearchError(Exception):
    """The root of this room's errors. Its message is written for operators and clients."""


class UnknownIndexError(SearchError):
    """No index has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown index: {name}")


class IndexUnavailableError(SearchError):
    """The index exists, but cannot be served for now: its files are damaged, or its engine is away."""


class EngineError(IndexUnavailableError):
    """Milvus refused a call.

    Attributes:
        code: Milvus' error code; `None` if it gave none.
    """

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class EngineUnreachableError(EngineError):
    """Milvus did not answer."""


class EngineTimeoutError(EngineUnreachableError):
    """Milvus did not answer in time."""


class IndexDamagedError(SearchError):
    """The files of an index are missing, broken, or do not belong together."""


class IndexBuildError(SearchError):
    """An index cannot be built from this input."""


class BuildInProgressError(IndexBuildError):
    """Another build of this index is running."""


class VectorUnavailableError(SearchError):
    """The vector of an indexed logo is damaged, or no longer stored."""


class DimensionError(SearchError):
    """A query vector has another number of values than the index."""


class UnusableVectorError(SearchError, ValueError):
    """No distance can be computed from a query vector: it is not finite, or too long for 32-bit floats."""
