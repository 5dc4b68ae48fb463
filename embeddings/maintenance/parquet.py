"""Export logos to a Parquet file for other systems, and import them. This needs `pyarrow`; serving does not.

    logo_id       int64
    embedding     list of `dim` float32
    image_url     string         where the logo comes from; null if unknown
    bounding_box  list of 4 float64: y_min, x_min, y_max, x_max, in fractions of the image's height and width; or null
    orientation   int8           Exif's, of the image, 1 to 8; null where nobody knows
    attributes    map of string to string; null where there are none

The file's metadata name the model that made the embeddings. A file from elsewhere may lack them, may have its columns
in any order and other columns beside them, and may use lists and numbers of any width.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable import sync_directory
from embeddings.attributes.attribute_store import AttributeStore
from embeddings.errors import ParquetError, StoreModelError, storage_errors
from embeddings.maintenance.exclusive_file import open_exclusive
from embeddings.maintenance.parquet_columns import attributes_of, embeddings_of, ids_of, possible, provenance_of
from embeddings.store.id_table import WINDOW
from embeddings.store.layout import ModelStamp
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore

if TYPE_CHECKING:
    import pyarrow as pa

_MODEL, _DIGEST = b"robotoff-ann.model", b"robotoff-ann.model_digest"
_BOX = 4
_OPTIONAL = ("image_url", "bounding_box", "orientation", "attributes")
_MAGIC = b"PAR1"  # the first bytes of a Parquet file


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported.

    Attributes:
        logos: number of logos in the file.
        with_provenance: how many of them have provenance.
        damaged: rows of the store that were skipped.
    """

    logos: int
    with_provenance: int
    damaged: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was imported.

    Attributes:
        logos: number of logos in the file.
        stored: how many of them were new.
    """

    logos: int
    stored: int


def export_logos(
    store: EmbeddingStore,
    target: Path,
    *,
    attributes: AttributeStore | None = None,
    replace: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> ExportReport:
    """Write the logos that a store holds now to a new file; services may be using the store.

    Until all of it is on the disk, the file has another name.

    Args:
        store: the store to export.
        target: the file.
        attributes: of the logos, if there are any.
        replace: whether to replace an existing Parquet file.
        progress: called with the number of logos just written.

    Raises:
        ParquetError: pyarrow is missing, there is a file at `target` (which is never replaced unless it is a Parquet
            file), or another run is writing it.
        StoreError: the store cannot be read, or the file cannot be written.
    """
    with _arrow_errors(target):
        import pyarrow as pa
        import pyarrow.parquet as pq

        if target.exists():
            _refuse_to_replace(target, asked_for=replace)
        partial = target.with_name(f"{target.name}.partial")
        snapshot = store.snapshot()
        logos = known = 0
        with storage_errors(f"write {target}"), open_exclusive(partial) as file:
            if file is None:
                raise ParquetError(f"another run is writing {partial}")
            try:
                with pq.ParquetWriter(file, _schema(store), compression="zstd", use_dictionary=["image_url"]) as out:
                    for ids, embeddings, rows in snapshot.blocks_with_provenance():
                        known_of = {} if attributes is None else attributes.get(ids.tolist())
                        pairs = [[*of.items()] if (of := known_of.get(i)) else None for i in ids.tolist()]
                        boxes = [None if row is None else [*row.bounding_box] for row in rows]
                        columns = [
                            pa.array(ids),
                            pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), store.dim),
                            pa.array([None if row is None else row.image_url for row in rows], pa.string()),
                            pa.array(boxes, pa.list_(pa.float64(), _BOX)),
                            pa.array([None if row is None else row.orientation for row in rows], pa.int8()),
                            pa.array(pairs, pa.map_(pa.string(), pa.string())),
                        ]
                        out.write_table(pa.Table.from_arrays(columns, schema=out.schema))
                        logos += len(ids)
                        known += sum(row is not None for row in rows)
                        progress(len(ids))
                file.flush()
                os.fsync(file.fileno())
                partial.replace(target)
                sync_directory(target.parent)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    return ExportReport(logos, known, snapshot.damaged)


def import_logos(
    source: Path,
    store: EmbeddingStore,
    *,
    attributes: Callable[[], AttributeStore] | None = None,
    any_model: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> ImportReport:
    """Store the logos of a file that are not stored yet; services may be using the store.

    Args:
        source: the file.
        store: the store to append to.
        attributes: opens where attributes go, if the file has some. Those that a logo has already stay as they are.
        any_model: whether to accept the embeddings as those of the store's model, whatever the file says.
        progress: called with the number of rows just read.

    Raises:
        ParquetError: pyarrow is missing, or a row cannot be used: the message names it. The rows before it are stored,
            and skipped when the file is imported again.
        StoreModelError: the file does not say that the store's model made its embeddings.
        StoreError: the store cannot store them.
    """
    with _opened(source) as file:
        if not any_model:
            _refuse_other_model(source, _stamp(file), store.stamp)
        logos = stored = 0
        for batch in _batches(file, source, ("logo_id", "embedding")):
            ids = ids_of(batch, logos)
            embeddings = embeddings_of(batch, logos, store.dim)
            changes = attributes_of(batch, ids, logos)
            stored += len(store.append(ids, embeddings, possible(provenance_of(batch, logos), logos)))
            if changes and attributes is not None:
                _set_missing(attributes(), changes)
            logos += len(ids)
            progress(len(ids))
        return ImportReport(logos, stored)


def _set_missing(attributes: AttributeStore, changes: Mapping[int, Mapping[str, str | None]]) -> None:
    """Set the attributes that logos do not have yet: an older file may not take back what was set since."""
    known = attributes.get(changes)
    missing: dict[int, dict[str, str | None]] = {}
    for logo_id, of_logo in changes.items():
        has = known.get(logo_id, {})
        missing[logo_id] = {key: value for key, value in of_logo.items() if key not in has}
    attributes.merge(missing)


def read_provenance(source: Path) -> Iterator[tuple[list[int], list[Provenance | None]]]:
    """Yield the provenance of the logos in a file, a block of rows at a time. The file needs no embeddings.

    Raises:
        ParquetError: as for `import_logos`.
    """
    with _opened(source) as file:
        row = 0
        for batch in _batches(file, source, ("logo_id", "image_url", "bounding_box")):
            ids = ids_of(batch, row)
            yield ids.tolist(), provenance_of(batch, row)
            row += len(ids)


def count_rows(source: Path) -> int:
    """Return the number of rows of a file; ParquetError if it is not a Parquet file."""
    with _opened(source) as file:
        return int(file.metadata.num_rows)


def _schema(store: EmbeddingStore) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("logo_id", pa.int64(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), store.dim), nullable=False),
            pa.field("image_url", pa.string()),
            pa.field("bounding_box", pa.list_(pa.float64(), _BOX)),
            pa.field("orientation", pa.int8()),
            pa.field("attributes", pa.map_(pa.string(), pa.string())),
        ],
        metadata={_MODEL: store.stamp.name.encode(), _DIGEST: store.stamp.digest.encode()},
    )


def _refuse_to_replace(target: Path, *, asked_for: bool) -> None:
    if not asked_for:
        raise ParquetError(f"there is a file at {target}: name another, or pass --replace")
    with storage_errors(f"replace {target}"), target.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ParquetError(f"{target} is not a Parquet file, so it is not replaced: name another, or remove it")


@contextmanager
def _opened(source: Path) -> Iterator[Any]:
    with _arrow_errors(source):
        import pyarrow.parquet as pq

        with pq.ParquetFile(source) as file:
            yield file


@contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ParquetError("Parquet files need pyarrow: pip install -r requirements-parquet.txt") from error
    try:
        yield
    except pa.ArrowException as error:
        raise ParquetError(f"{path} is not a usable Parquet file: {error}") from error
    except OSError as error:
        raise ParquetError(f"{path} cannot be used: {error.strerror or error}") from error


def _stamp(file: Any) -> ModelStamp:
    metadata = file.schema_arrow.metadata or {}
    name, digest = (metadata.get(key, b"").decode(errors="replace") for key in (_MODEL, _DIGEST))
    return ModelStamp(name, digest)


def _refuse_other_model(source: Path, made_by: ModelStamp, wanted: ModelStamp) -> None:
    if not made_by.digest:
        raise StoreModelError(
            f"{source} does not say which model made its embeddings: pass --any-model if it was {wanted.name} "
            f"({wanted.digest or 'unknown weights'})"
        )
    if made_by != wanted:
        raise StoreModelError(
            f"{made_by.name} ({made_by.digest}) made the embeddings of {source}, but those of the store come from "
            f"{wanted.name or 'an unknown model'} ({wanted.digest or 'unknown'}): they cannot be compared. `re-embed "
            "--from` embeds the logos again; --any-model stores the embeddings anyway"
        )


def _batches(file: Any, source: Path, needed: Sequence[str]) -> Iterator[pa.RecordBatch]:
    names = set(file.schema_arrow.names)
    if missing := [name for name in needed if name not in names]:
        raise ParquetError(f"{source} has no column {', '.join(missing)}")
    optional = [
        name
        for name in ("image_url", "bounding_box", "orientation", "attributes")
        if name in names and name not in needed
    ]
    return file.iter_batches(batch_size=WINDOW, columns=[*needed, *optional])  # type: ignore[no-any-return]
