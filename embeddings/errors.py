"""Errors between a photo and its row on disk.

EmbeddingsError
├── ImageError                 the image or a box cannot be used; the client can correct it
│   ├── ImageFetchError        the image could not be downloaded
│   │   ├── HostUnreachableError   its host does not answer, or too late: other images of that host will fail too
│   │   └── HostBusyError          its host asks clients to come back later
│   ├── ImageDecodeError       the download is not an image, or the image is too large
│   └── BoundingBoxError       a box selects no usable part of the image (names the logo)
├── SentEmbeddingError         an embedding in a request cannot be used (names the logo)
├── AttributeValueError        an attribute of a request cannot be stored (names the logo)
├── FilterError                a filter of a request cannot be parsed
├── StoreError                 the store cannot do this now; the operator can correct it
│   ├── StoreLayoutError       the file is not a store that this version reads
│   ├── StoreModelError        another model made its vectors
│   ├── StoreFullError         no row is left
│   ├── StoreUnavailableError  the store refuses writes: a sync failed, or the file vanished
│   ├── DamagedRowError        a row disagrees with its checksum
│   ├── DamagedAttributesError the database of attributes is damaged
│   └── BackupError            a file is not a backup of the store, or does not read back
├── CollectionError            a collection cannot be created, read or dropped
│   └── UnknownCollectionError     no collection has this name
├── ParquetError               a Parquet file cannot be used
├── ExhaustedError             this process is out of descriptors or memory; a retry may succeed
└── ModelError                 weights are missing, damaged or not converted
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EmbeddingsError(Exception):
    """The root of this room's errors. Its message is written for operators and clients."""


class ImageError(EmbeddingsError):
    """The image of a request, or one of its boxes, cannot be used."""


class ImageFetchError(ImageError):
    """The image could not be downloaded."""


class HostUnreachableError(ImageFetchError):
    """The image's host does not answer, or answers too late."""


class HostBusyError(ImageFetchError):
    """The image's host does not answer now, and says so; the request is fine.

    Attributes:
        retry_after: seconds after which the host may be asked again; None if it did not say.
    """

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ImageDecodeError(ImageError):
    """The download is not an image, or is a broken or too large one."""


class BoundingBoxError(ImageError):
    """A bounding box selects no usable part of its image."""


class SentEmbeddingError(EmbeddingsError):
    """An embedding in a request cannot be used; the message names its logo."""


class AttributeValueError(EmbeddingsError):
    """An attribute in a request cannot be stored; the message names its logo."""


class FilterError(EmbeddingsError):
    """A filter on attributes cannot be parsed."""


class StoreError(EmbeddingsError):
    """The store cannot do what was asked."""


class StoreLayoutError(StoreError):
    """The file is not a store that this version reads."""


class StoreModelError(StoreError):
    """Another model than the configured one made the vectors in the store."""


class StoreFullError(StoreError):
    """The store has too few free rows for this append."""


class StoreUnavailableError(StoreError):
    """The store refuses to write until it is opened again."""


class DamagedRowError(StoreError):
    """A stored row disagrees with its checksum."""


class DamagedAttributesError(StoreError):
    """The database of attributes is damaged, or is not one that this version reads."""


class BackupError(StoreError):
    """A file is not a backup of this store, or is a damaged one."""


class CollectionError(EmbeddingsError):
    """A collection cannot be created, read or dropped."""


class UnknownCollectionError(CollectionError):
    """No collection has the name asked for."""


class ParquetError(EmbeddingsError):
    """A Parquet file cannot be read, written or understood, or pyarrow is not installed."""


class ExhaustedError(EmbeddingsError):
    """This process has no file descriptor or memory left for the operation."""


class ModelError(EmbeddingsError):
    """The weights of a model are missing, damaged, or have no converted file."""


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn the operating system's errors into this room's: StoreFullError for a full disk, else unavailable."""
    try:
        yield
    except OSError as error:
        raise store_error(doing, error) from error


def store_error(doing: str, error: OSError) -> StoreError:
    """Return this room's error for one of the operating system's."""
    if error.errno in _NO_ROOM:
        return StoreFullError(f"cannot {doing}: {error.strerror}; make room on its disk")
    return StoreUnavailableError(f"cannot {doing}: {error.strerror or error}")
