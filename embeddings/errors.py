"""What can go wrong between a photo and its row on disk.

EmbeddingsError
├── ImageError                 the image or a box cannot be used; the caller can change that
│   ├── ImageFetchError        the image could not be had from its address
│   │   ├── HostUnreachableError   nobody there answers, or not in time: others of that host will fail, too
│   │   └── HostBusyError          its host says to come back later
│   ├── ImageDecodeError       what came is no image, or too large a one
│   └── BoundingBoxError       a box selects no usable part of the image (names the logo)
├── SentEmbeddingError         an embedding in a request cannot be used (names the logo)
├── AttributeValueError        an attribute of a request cannot be stored (names the logo)
├── FilterError                a filter of a request cannot be parsed
├── StoreError                 the store cannot do this now; the operator can change that
│   ├── StoreLayoutError       the file is no store that this version reads
│   ├── StoreModelError        its vectors were made by another model
│   ├── StoreFullError         no row is left
│   ├── StoreUnavailableError  it refuses to write: a sync failed, or the file vanished
│   ├── DamagedRowError        a row disagrees with its checksum
│   ├── DamagedAttributesError the database of attributes is damaged
│   └── BackupError            a file is no backup of the store, or does not read back
├── CollectionError            a collection cannot be created, read or dropped
│   ├── UnknownCollectionError     no collection has the name asked for
│   └── NoEmbedderError            images were sent to a collection that takes vectors only
├── ParquetError               a Parquet file cannot be used
├── ExhaustedError             this process has no descriptor or memory left; another time it may
└── ModelError                 weights are missing, damaged or not converted
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EmbeddingsError(Exception):
    """The root of this room's errors; its message is fit for an operator or a client to read."""


class ImageError(EmbeddingsError):
    """The image of a request, or one of its boxes, cannot be used."""


class ImageFetchError(ImageError):
    """The image could not be had from its address."""


class HostUnreachableError(ImageFetchError):
    """Nobody answers at the image's host, or not in time."""


class HostBusyError(ImageFetchError):
    """The image's host does not answer now, and says so; the request is fine.

    Attributes:
        retry_after: seconds after which the host may be asked again; None if it did not say.
    """

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ImageDecodeError(ImageError):
    """What came from the address is no image, a broken one, or too large a one."""


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
    """The vectors in the store were made by another model than the one configured."""


class StoreFullError(StoreError):
    """The store has no row left for what was to be appended."""


class StoreUnavailableError(StoreError):
    """The store refuses to write until it is opened again."""


class DamagedRowError(StoreError):
    """A stored row disagrees with its checksum."""


class DamagedAttributesError(StoreError):
    """The database of attributes is damaged, or is not one that this version reads."""


class BackupError(StoreError):
    """A file is no backup of this store, or a damaged one."""


class CollectionError(EmbeddingsError):
    """A collection cannot be created, read or dropped."""


class UnknownCollectionError(CollectionError):
    """No collection has the name asked for."""


class NoEmbedderError(CollectionError):
    """An image was sent to a collection that takes vectors only."""


class ParquetError(EmbeddingsError):
    """A Parquet file cannot be read, written or understood, or what reads it is not installed."""


class ExhaustedError(EmbeddingsError):
    """This process has no descriptor or memory left for it."""


class ModelError(EmbeddingsError):
    """The weights of a model are missing, damaged, or have no converted file."""


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn the operating system's errors into the room's: StoreFullError without room, else StoreUnavailableError."""
    try:
        yield
    except OSError as error:
        raise store_error(doing, error) from error


def store_error(doing: str, error: OSError) -> StoreError:
    """Return the room's error for one of the operating system's."""
    if error.errno in _NO_ROOM:
        return StoreFullError(f"cannot {doing}: {error.strerror}; make room on its disk")
    return StoreUnavailableError(f"cannot {doing}: {error.strerror or error}")
