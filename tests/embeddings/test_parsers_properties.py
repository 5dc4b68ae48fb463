"""Any file of a store or a model is either read as it was written, or refused."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import ModelError, StoreError
from embeddings.model.description import PACKAGE_DIR, ModelDescription
from embeddings.store.deletions import DeletionLog
from embeddings.store.hdf5_file import read_description
from embeddings.store.layout import ModelStamp
from embeddings.store.store_path import create_store, inspect
from tests.properties import examples

DESCRIPTION = ModelDescription.from_json((PACKAGE_DIR / "efficientnet-lite0-bundled.json").read_text())

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("0" * 64)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def described(text: str) -> ModelDescription | None:
    try:
        return ModelDescription.from_json(text)
    except ModelError:
        return None


@examples(150)
@given(st.dictionaries(st.sampled_from([*json.loads(DESCRIPTION.to_json()), "more"]), values, max_size=2))
def test_a_description_with_other_fields_is_read_as_it_is_written_or_refused(changes: dict[str, Any]) -> None:
    fields = json.loads(DESCRIPTION.to_json()) | changes
    description = described(json.dumps(fields))
    if description is not None:
        assert json.loads(description.to_json()) == fields
        assert min(description.dim, description.preprocessing.size) > 0


@examples(100)
@given(st.text(max_size=30) | values.map(json.dumps))
def test_arbitrary_text_is_not_a_description(text: str) -> None:
    assert described(text) is None


@examples(100)
@given(st.integers(0, len(DESCRIPTION.to_json()) - 1), st.characters(), st.integers(0, 3))
def test_a_changed_character_of_a_description_is_seen_or_changes_what_it_says(
    place: int, character: str, removed: int
) -> None:
    intact = DESCRIPTION.to_json()
    text = intact[:place] + character + intact[place + removed :]
    description = described(text)
    if description is not None:
        assert (description == DESCRIPTION) == (json.loads(text) == json.loads(intact))


stamps = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80)


@examples(40)
@given(capacity=st.integers(1, 3000) | st.integers(1, 2**30), dim=st.integers(1, 2000), name=stamps, digest=stamps)
def test_a_new_store_says_what_it_was_made_with(capacity: int, dim: int, name: str, digest: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "s.hdf5")
        create_store(path, capacity=capacity, dim=dim, stamp=ModelStamp(name, digest))
        layout = inspect(path)
        assert layout
        assert (layout.capacity, layout.dim, layout.stamp) == (capacity, dim, ModelStamp(name, digest))
        assert layout.offsets
        ends = (
            layout.offsets.ids + 8 * capacity,
            layout.offsets.checksums + 4 * capacity,
            layout.offsets.embeddings + 4 * dim * capacity,
        )
        assert ends[0] <= layout.offsets.checksums
        assert ends[1] <= layout.offsets.embeddings
        assert ends[2] <= path.stat().st_size


attributes = st.one_of(
    st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=8),
    st.integers(-(2**31), 2**31),
    st.floats(),
    st.binary(min_size=1, max_size=8).map(np.void),
    st.lists(st.integers(0, 9), max_size=3).map(lambda numbers: np.array(numbers, "i4")),
    st.just(h5py.Empty("f")),
)
shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
types = st.sampled_from(["i4", "i8", "<i8", ">i8", "u4", "<u4", "<f4", ">f4", "f8", "f2", "S5", "c8", "bool"])


@examples(100)
@given(
    model=st.none() | attributes,
    digest=st.none() | attributes,
    datasets=st.dictionaries(st.sampled_from(["external_id", "embedding", "crc32"]), st.tuples(shapes, types)),
    regular=st.booleans(),
)
def test_any_hdf5_file_is_a_store_or_refused(
    model: Any, digest: Any, datasets: dict[str, tuple[tuple[int, ...], str]], regular: bool
) -> None:
    if regular:
        datasets = datasets | {"external_id": ((5,), "i4"), "embedding": ((5, 2), "f4")}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "s.hdf5")
        with h5py.File(path, "w") as hdf5:
            for name, value in (("model", model), ("model_digest", digest)):
                if value is not None:
                    hdf5.attrs[name] = value
            for name, (shape, dtype) in datasets.items():
                hdf5.create_dataset(name, shape, dtype)
        try:
            with path.open("rb") as file:
                layout = read_description(file.fileno(), path)
        except StoreError:
            return
        assert isinstance(layout.stamp.name, str)
        assert isinstance(layout.stamp.digest, str)
        assert (layout.capacity, layout.dim) == datasets["embedding"][0]


contents = st.binary(max_size=30) | st.lists(
    st.one_of(st.integers(1, 40).map(str), st.just("9" * 5000), st.text("0123456789 -x", max_size=4)), max_size=6
).map(lambda lines: "\n".join(lines).encode())


@examples(100)
@given(before=contents, between=contents)
def test_a_list_of_deleted_logos_names_those_written_whatever_else_is_in_it(before: bytes, between: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory, "s.hdf5")
        file = store.with_name("s.hdf5.deleted")
        file.write_bytes(before)
        log = DeletionLog(store)
        log.among([1])
        log.write([71, 72])
        with file.open("ab") as appended:
            appended.write(between)
        log.write([73, 2**63 - 1])
        os.utime(file)
        assert {71, 72, 73, 2**63 - 1} <= log.among(range(1, 80)) | log.among([2**63 - 1])
        assert log.among([50, 74]) <= {
            int(word) for word in (before + b"\n" + between).split() if word in (b"50", b"74")
        }
