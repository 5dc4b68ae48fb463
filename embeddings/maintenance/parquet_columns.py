"""Read the columns of a Parquet file into arrays; an error names the row that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import BoundingBoxError, ParquetError
from embeddings.images.decode import check_box
from embeddings.store.provenance import Provenance

if TYPE_CHECKING:
    import pyarrow as pa


def ids_of(batch: pa.RecordBatch, first_row: int) -> NDArray[np.int64]:
    """Return the ids of a batch of rows, (n,). `first_row` is the number of its first row, for messages.

    Raises:
        ParquetError: an id is not a positive 64-bit integer.
    """
    import pyarrow as pa

    column = batch.column("logo_id")
    if column.null_count or not pa.types.is_integer(column.type):
        raise ParquetError(
            f"rows from {first_row}: logo_id must be a whole number in each row, not {column.type} or null"
        )
    ids: NDArray[np.int64] = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    bad = np.flatnonzero(ids < 1)
    if len(bad):
        raise ParquetError(f"row {first_row + int(bad[0])}: logo_id must be from 1 to 2**63 - 1, not {ids[bad[0]]}")
    return ids


def embeddings_of(batch: pa.RecordBatch, first_row: int, dim: int) -> NDArray[np.float32]:
    """Return the embeddings of a batch of rows, (n, dim).

    Raises:
        ParquetError: an embedding has another length, or values that are not finite.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = batch.column("embedding")
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)  # ArrowException if not a list
    bad = np.flatnonzero(lengths != dim)
    if len(bad):
        raise ParquetError(f"row {first_row + int(bad[0])}: embedding has {lengths[bad[0]]} values instead of {dim}")
    values = column.flatten().cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)  # null becomes NaN
    embeddings: NDArray[np.float32] = values.reshape(-1, dim)
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise ParquetError(f"row {first_row + int(bad[0])}: embedding has values that are missing or not finite")
    return embeddings


def provenance_of(batch: pa.RecordBatch, first_row: int) -> list[Provenance | None]:
    """Return the provenance of each logo of a batch; None where the address or the box is missing.

    An orientation that is none of Exif's is not known.

    Raises:
        ParquetError: an address is not text, or a box does not have four numbers.
    """
    if not {"image_url", "bounding_box"} <= set(batch.schema.names):
        return [None] * batch.num_rows
    urls = batch.column("image_url").to_pylist()
    boxes = batch.column("bounding_box").to_pylist()
    is_oriented = "orientation" in batch.schema.names
    orientations = batch.column("orientation").to_pylist() if is_oriented else [None] * batch.num_rows
    found: list[Provenance | None] = []
    for place, (url, box, orientation) in enumerate(zip(urls, boxes, orientations, strict=True)):
        if not url or box is None:
            found.append(None)
            continue
        try:
            y_min, x_min, y_max, x_max = map(float, box)
        except (TypeError, ValueError):
            raise ParquetError(f"row {first_row + place}: bounding_box must be four numbers, not {box!r:.80}") from None
        if not isinstance(url, str):
            raise ParquetError(f"row {first_row + place}: image_url must be text, not {url!r:.80}")
        is_known = isinstance(orientation, int) and 1 <= orientation <= 8
        found.append(Provenance(url, (y_min, x_min, y_max, x_max), orientation if is_known else None))
    return found


def possible(provenance: list[Provenance | None], first_row: int) -> list[Provenance | None]:
    """Return the provenance unchanged; ParquetError if an add would refuse one of the boxes."""
    for place, origin in enumerate(provenance):
        try:
            if origin is not None:
                check_box(origin.bounding_box, logo_id=None)
        except BoundingBoxError as error:
            raise ParquetError(f"row {first_row + place}: {error}") from None
    return provenance
