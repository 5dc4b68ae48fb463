"""The small files of an index are either read as they were written, or refused."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from index.errors import IndexDamagedError
from index.files.generations import CURRENT, current_generation, list_generations, publish
from index.files.logo_ids import MAX_LOGO_ID, LogoIds
from index.files.manifest import JSON_NAME, FileRecord, Manifest, read_manifest
from tests.index.files.test_manifest import MANIFEST
from tests.properties import examples

logo_ids = st.integers(1, MAX_LOGO_ID) | st.integers(1, 30) | st.sampled_from([0, 2**63, 2**64 - 1, 2**64, 10**25])
lines = st.one_of(
    logo_ids.map(str),
    st.sampled_from(["", "007", "-1", "+1", "1.0", "1e3", " 1", "1 ", "1\r", "٣", "nan", "0x1"]),
    st.text(max_size=3),
)


@examples(300)
@given(st.lists(lines, max_size=6), st.sampled_from(["\n", "\n", "\n", "", "\r\n", "\n\n", " "]))
def test_a_list_of_ids_is_read_as_it_is_written_or_refused(texts: list[str], end: str) -> None:
    content = "".join(f"{text}\n" for text in texts[:-1]) + (texts[-1] + end if texts else "")
    ids = [int(text) for text in content.split("\n")[:-1] if re.fullmatch("[0-9]+", text)]
    is_proper = (
        content == "".join(f"{text}\n" for text in content.split("\n")[:-1])
        and len(ids) == len(set(ids)) == content.count("\n")
        and all(0 < logo_id <= MAX_LOGO_ID for logo_id in ids)
    )
    try:
        parsed = LogoIds.parse(content.encode())
    except ValueError:
        assert not is_proper
    else:
        assert is_proper
        assert [parsed.item_of(logo_id) for logo_id in ids] == [*range(len(ids))]
        assert LogoIds.parse(parsed.format()).format() == parsed.format()


@examples(200)
@given(st.binary(max_size=30))
def test_any_bytes_are_a_list_of_ids_or_refused(content: bytes) -> None:
    try:
        parsed = LogoIds.parse(content)
    except ValueError:
        return
    assert len(parsed) == content.count(b"\n")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("0" * 64)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
names = st.sampled_from(
    ["format", "metric", "index_bin", "index_txt", "dim", "items", "trees", "seed", "model", "built_at", "more"]
)
of_file = st.fixed_dictionaries({"size": values, "sha256": st.just("0" * 64) | values}, optional={"more": values})


def read(content: bytes) -> Manifest | None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, JSON_NAME).write_bytes(content)
        try:
            return read_manifest(Path(directory))
        except IndexDamagedError:
            return None


@examples(250)
@given(st.dictionaries(names, values, min_size=1, max_size=2) | of_file.map(lambda record: {"index_bin": record}))
def test_a_manifest_with_other_fields_is_read_as_it_is_written_or_refused(changes: dict[str, Any]) -> None:
    fields = json.loads(MANIFEST.format()) | changes
    manifest = read(json.dumps(fields).encode())
    if manifest is not None:
        assert json.loads(manifest.format()) == fields
        assert min(manifest.dim, manifest.items, manifest.trees, manifest.index_bin.size) > 0
        assert {type(number) for number in (manifest.dim, manifest.items, manifest.trees)} == {int}
        assert {type(text) for text in (manifest.model, manifest.weights_digest, manifest.built_at)} == {str}
        assert isinstance(manifest.index_bin, FileRecord)


@examples(100)
@given(st.binary(max_size=30) | values.map(lambda value: json.dumps(value).encode("utf-8", "replace")))
def test_arbitrary_bytes_are_not_a_manifest(content: bytes) -> None:
    assert read(content) is None


@examples(100)
@given(st.integers(0, len(MANIFEST.format()) - 1), st.integers(0, 255), st.integers(0, 3))
def test_a_changed_byte_of_a_manifest_is_seen_or_changes_what_it_says(place: int, byte: int, removed: int) -> None:
    intact = MANIFEST.format()
    content = intact[:place] + bytes([byte]) + intact[place + removed :]
    manifest = read(content)
    if manifest is not None:
        assert (manifest == MANIFEST) == (json.loads(content) == json.loads(intact))


seconds = st.datetimes().map(lambda time: time.strftime("%Y%m%dT%H%M%SZ").zfill(16))
entries = st.one_of(
    seconds,
    st.builds("{}-{:03d}".format, seconds, st.integers(2, 998)),
    st.builds("{}{}".format, seconds, st.sampled_from(["-1", "-0001", "-", "x", ".tmp", "-002\n"])),
    st.text("0123456789TZ-.", min_size=1, max_size=20),
).filter(lambda name: name not in (".", ".."))


@examples(40)
@given(st.sets(entries, max_size=5))
def test_a_new_generation_is_the_newest_whatever_lies_beside_it(present: set[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        index_dir = Path(name)
        for entry in present:
            (index_dir / "generations" / entry).mkdir(parents=True)
        listed = {path.name for path in list_generations(index_dir)}
        assert listed == {entry for entry in present if re.fullmatch(r"[0-9]{8}T[0-9]{6}Z(-[0-9]{3})?", entry)}
        new = publish(index_dir, lambda _: MANIFEST, keep=10)
        assert list_generations(index_dir)[-1] == new
        assert current_generation(index_dir) == new
        assert new.name not in present


targets = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)


@examples(60)
@given(targets | st.sampled_from(["..", ".", CURRENT, "/", "generations", "/dev/null", "generations/none"]))
def test_a_link_may_point_anywhere(target: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name, CURRENT).symlink_to(target)
        generation = current_generation(Path(name))
        assert generation is not None
        try:
            read_manifest(generation)
        except IndexDamagedError:
            return
        raise AssertionError(f"{target} holds no manifest")
