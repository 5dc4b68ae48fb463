"""Logos leave as a Parquet file and come back, and nothing that does not belong into a store gets in."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embeddings.errors import ParquetError, StoreModelError
from embeddings.maintenance.parquet import ExportReport, ImportReport, export_logos, import_logos, read_provenance
from embeddings.maintenance.rewrite import prepare_store
from embeddings.store.layout import ModelStamp
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore

DIM = 6
STAMP = ModelStamp("network", "digest")
VECTORS = np.random.default_rng(1).standard_normal((5, DIM)).astype(np.float32)
KNOWN = Provenance("https://example.org/ä.jpg?rev=1", (0.1, 0.2, 1 / 3, 1.5), 6)


def store_at(path: Path, stamp: ModelStamp = STAMP) -> EmbeddingStore:
    prepare_store(path, capacity=10_000, dim=DIM, stamp=stamp)
    return EmbeddingStore(path)


def write(path: Path, columns: dict[str, Any], stamp: ModelStamp | None = STAMP) -> Path:
    table = pa.table(columns)
    if stamp is not None:
        metadata = {"robotoff-ann.model": stamp.name, "robotoff-ann.model_digest": stamp.digest}
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, path)
    return path


def test_what_is_exported_comes_back(tmp_path: Path) -> None:
    with store_at(tmp_path / "a.hdf5") as store, store_at(tmp_path / "b.hdf5") as other:
        store.append([5, 2**60, 7, 8], VECTORS[:4], [KNOWN, None, None, KNOWN])
        store.delete([7])
        done: list[int] = []
        report = export_logos(store, tmp_path / "logos.parquet", progress=done.append)
        assert report == ExportReport(logos=3, with_provenance=2, damaged=0)
        assert sum(done) == 3
        assert import_logos(tmp_path / "logos.parquet", other) == ImportReport(logos=3, stored=3)
        assert other.ids().tolist() == [5, 2**60, 8]
        assert np.array_equal(other.get(2**60), VECTORS[1])
        assert other.provenance([5, 2**60, 8]) == {5: KNOWN, 8: KNOWN}


def test_any_parquet_reader_sees_plain_columns(tmp_path: Path) -> None:
    with store_at(tmp_path / "a.hdf5") as store:
        store.append([5, 6], VECTORS[:2], [KNOWN, None])
        export_logos(store, tmp_path / "logos.parquet")
    rows = pq.read_table(tmp_path / "logos.parquet").to_pylist()
    assert rows[0] == {
        "logo_id": 5,
        "embedding": VECTORS[0].tolist(),
        "image_url": KNOWN.image_url,
        "bounding_box": [*KNOWN.bounding_box],
        "attributes": None,
        "orientation": 6,
    }
    assert rows[1]["image_url"] is rows[1]["bounding_box"] is None


def test_importing_again_stores_nothing_twice(tmp_path: Path) -> None:
    with store_at(tmp_path / "a.hdf5") as store:
        store.append([5, 6], VECTORS[:2])
        export_logos(store, tmp_path / "logos.parquet")
        assert import_logos(tmp_path / "logos.parquet", store) == ImportReport(logos=2, stored=0)


def test_a_large_store_is_exported_by_the_block(tmp_path: Path) -> None:
    ids = np.arange(1, 9001)
    with store_at(tmp_path / "a.hdf5") as store, store_at(tmp_path / "b.hdf5") as other:
        store.append(ids, np.repeat(ids[:, None], DIM, axis=1).astype(np.float32))
        export_logos(store, tmp_path / "logos.parquet")
        assert pq.ParquetFile(tmp_path / "logos.parquet").num_row_groups == 3
        import_logos(tmp_path / "logos.parquet", other)
        assert other.get(9000).tolist() == [9000.0] * DIM


def test_a_file_is_replaced_only_when_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "logos.parquet"
    target.write_text("something dear")
    with store_at(tmp_path / "a.hdf5") as store:
        store.append([5], VECTORS[:1])
        with pytest.raises(ParquetError, match="--replace"):
            export_logos(store, target)
        assert target.read_text() == "something dear"
        with pytest.raises(ParquetError, match="is not a Parquet file, so it is not replaced"):
            export_logos(store, target, replace=True)
        assert target.read_text() == "something dear"
        with pytest.raises(ParquetError, match="is not a Parquet file, so it is not replaced"):
            export_logos(store, store.path, replace=True)
        target.unlink()
        export_logos(store, target)
        store.append([6], VECTORS[1:2])
        assert export_logos(store, target, replace=True).logos == 2


def test_a_failed_export_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(_: int) -> None:
        raise RuntimeError

    with store_at(tmp_path / "a.hdf5") as store:
        store.append([5], VECTORS[:1])
        with pytest.raises(RuntimeError):
            export_logos(store, tmp_path / "logos.parquet", progress=fail)
    assert not [*tmp_path.glob("logos*")]


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    target = tmp_path / "logos.parquet"
    refused: list[str] = []

    def export_again(rows: int) -> None:
        with pytest.raises(ParquetError, match="another run is writing") as error:
            export_logos(store, target)
        refused.append(str(error.value))

    with store_at(tmp_path / "a.hdf5") as store:
        store.append([5, 6], VECTORS[:2], [KNOWN, None])
        assert export_logos(store, target, progress=export_again).logos == 2
    assert refused
    assert pq.read_table(target).column("logo_id").to_pylist() == [5, 6]
    assert not (tmp_path / "logos.parquet.partial").exists()


def test_what_a_killed_run_left_is_no_part_of_the_next_file(tmp_path: Path) -> None:
    (tmp_path / "logos.parquet.partial").write_bytes(bytes(10**6))
    with store_at(tmp_path / "a.hdf5") as store:
        store.append([5], VECTORS[:1])
        export_logos(store, tmp_path / "logos.parquet")
    assert pq.read_table(tmp_path / "logos.parquet").num_rows == 1
    assert (tmp_path / "logos.parquet").stat().st_size < 10**5


def test_damaged_rows_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with store_at(tmp_path / "a.hdf5") as store:
        store.append([5, 6], VECTORS[:2])
        content = (tmp_path / "a.hdf5").read_bytes()
        place = content.index(VECTORS[1].tobytes())
        with (tmp_path / "a.hdf5").open("r+b") as file:
            file.seek(place)
            file.write(b"\xff\xff")
        with caplog.at_level(logging.ERROR):
            assert export_logos(store, tmp_path / "logos.parquet") == ExportReport(1, 0, damaged=1)
    assert "[6]" in caplog.text


def test_embeddings_of_another_model_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"logo_id": [1], "embedding": [VECTORS[0].tolist()]}, ModelStamp("b", "other"))
    with store_at(tmp_path / "a.hdf5") as store:
        with pytest.raises(StoreModelError, match=r"b \(other\) made .* the store come from network \(digest\)"):
            import_logos(path, store)
        assert import_logos(path, store, any_model=True).stored == 1


def test_a_file_that_names_no_model_must_be_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"logo_id": [1], "embedding": [VECTORS[0].tolist()]}, None)
    with store_at(tmp_path / "a.hdf5") as store:
        with pytest.raises(StoreModelError, match="--any-model"):
            import_logos(path, store)
        assert import_logos(path, store, any_model=True).stored == 1


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), DIM)])
def test_lists_of_any_width_are_taken(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {
        "other": ["x"],
        "embedding": pa.array([VECTORS[0].tolist()], kind),
        "bounding_box": pa.array([[0, 0, 1, 1]], pa.list_(pa.int8())),
        "image_url": pa.array(["http://a/b.jpg"], pa.large_string()),
        "logo_id": pa.array([7], pa.uint32()),
        "orientation": pa.array([9], pa.uint8()),  # none of Exif's
    }
    with store_at(tmp_path / "a.hdf5") as store:
        import_logos(write(tmp_path / "x.parquet", columns), store)
        assert np.array_equal(store.get(7), VECTORS[0])
        assert store.provenance([7]) == {7: Provenance("http://a/b.jpg", (0.0, 0.0, 1.0, 1.0))}


GOOD = [*VECTORS[0].tolist()]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"logo_id": [1]}, "has no column embedding"),
        ({"logo_id": [1, 0], "embedding": [GOOD, GOOD]}, "row 1: logo_id must be from 1"),
        ({"logo_id": [1, None], "embedding": [GOOD, GOOD]}, "logo_id must be a whole number"),
        ({"logo_id": [1.5], "embedding": [GOOD]}, "logo_id must be a whole number"),
        ({"logo_id": pa.array([2**64 - 1], pa.uint64()), "embedding": [GOOD]}, "not a usable Parquet file"),
        ({"logo_id": [1, 2], "embedding": [GOOD, GOOD[1:]]}, "row 1: embedding has 5 values instead of 6"),
        ({"logo_id": [1, 2], "embedding": [GOOD, None]}, "row 1: embedding has 0 values"),
        ({"logo_id": [1], "embedding": [[*GOOD[1:], float("nan")]]}, "row 0: embedding has values"),
        ({"logo_id": [1], "embedding": [[*GOOD[1:], None]]}, "row 0: embedding has values"),
        ({"logo_id": [1], "embedding": [[*GOOD[1:], 1e300]]}, "row 0: embedding has values"),
        ({"logo_id": [1], "embedding": ["no list"]}, "not a usable Parquet file"),
        (
            {"logo_id": [1], "embedding": [GOOD], "image_url": ["http://a/"], "bounding_box": [[1.0]]},
            "row 0: bounding_box must be four numbers",
        ),
        *(
            (
                {
                    "logo_id": [1, 2],
                    "embedding": [GOOD, GOOD],
                    "image_url": [None, "http://a/"],
                    "bounding_box": [None, box],
                },
                f"row 1: The bounding box {reason}",
            )
            for box, reason in (
                ([0, 0, 1, float("nan")], "is not finite"),
                ([0, 0, float("inf"), 1], "is not finite"),
                ([0.9, 0.9, 0.1, 0.1], "is empty or inverted"),
            )
        ),
        (
            {"logo_id": [1], "embedding": [GOOD], "image_url": [5], "bounding_box": [[0, 0, 1, 1]]},
            "row 0: image_url must be text",
        ),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "x.parquet", columns)
    with store_at(tmp_path / "a.hdf5") as store:
        with pytest.raises(ParquetError, match=message):
            import_logos(path, store)
        assert len(store) == 0


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with store_at(tmp_path / "a.hdf5") as store, pytest.raises(ParquetError, match=r"x\.parquet"):
        import_logos(tmp_path / "x.parquet", store)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with store_at(tmp_path / "a.hdf5") as store, pytest.raises(ParquetError, match="No such file"):
        import_logos(tmp_path / "x.parquet", store)


def test_provenance_alone_can_be_read(tmp_path: Path) -> None:
    columns = {"logo_id": [1, 2, 3], "image_url": ["http://a/", None, "http://b/"]}
    path = write(tmp_path / "x.parquet", {**columns, "bounding_box": [[0.0, 0.0, 1.0, 1.0], [0.0] * 4, None]}, None)
    known = Provenance("http://a/", (0.0, 0.0, 1.0, 1.0))
    assert [*read_provenance(path)] == [([1, 2, 3], [known, None, None])]


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with store_at(tmp_path / "a.hdf5") as store, pytest.raises(ParquetError, match=r"requirements-parquet\.txt"):
        export_logos(store, tmp_path / "logos.parquet")
