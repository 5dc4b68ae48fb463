"""Collections are created, listed and dropped as a whole, whenever the process is killed."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from embeddings.collection.definition import CollectionDefinition
from embeddings.collection.directory import DEFINITION_NAME, CollectionDirectory
from embeddings.errors import CollectionError, StoreUnavailableError, UnknownCollectionError
from embeddings.maintenance.rewrite import prepare_store
from embeddings.store.layout import ModelStamp
from tests.index.samples import killed_before_each_step, without_privileges

CLIP = CollectionDefinition("clip-vit-b-32", 512, "cosine")
LITE = CollectionDefinition("lite", 1280, model="efficientnet-lite0", fresh=False)


def test_a_created_collection_is_listed_and_read_back(tmp_path: Path) -> None:
    collections = CollectionDirectory(tmp_path)
    assert collections.names() == []
    assert collections.create(LITE) == tmp_path / "lite"
    collections.create(CLIP)
    assert collections.names() == ["clip-vit-b-32", "lite"]
    assert [collections.get(name) for name in collections.names()] == [CLIP, LITE]
    prepare_store(collections.store_path("lite"), capacity=5, dim=LITE.dim, stamp=ModelStamp("", ""))
    assert (tmp_path / "lite" / "logos.hdf5").exists()


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "..", "Upper", "ü", "a b", "a.b", "a" * 64, "a\n"])
def test_a_name_that_could_be_another_path_is_refused(tmp_path: Path, name: str) -> None:
    collections = CollectionDirectory(tmp_path)
    with pytest.raises(CollectionError, match="a name has up to 63 lower-case letters"):
        CollectionDefinition(name, 8)
    for ask in (collections.path, collections.get, collections.drop):
        with pytest.raises(CollectionError, match="a name has up to 63"):
            ask(name)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dim": 1}, "dim: 1 is not an integer from 2 to 4096"),
        ({"dim": 4097}, "dim: 4097"),
        ({"dim": 8.0}, "dim: 8.0"),
        ({"dim": True}, "dim: True"),
        ({"metric": "dot"}, "metric: 'dot' is none of euclidean, cosine"),
        ({"model": ""}, "model: ''"),
        ({"fresh": 1}, "fresh: 1"),
        ({"format": 2}, "a later release"),
        ({"colour": "red"}, "does not define a collection"),
    ],
)
def test_a_description_with_a_wrong_value_is_refused_and_named(
    tmp_path: Path, wrong: dict[str, object], message: str
) -> None:
    collections = CollectionDirectory(tmp_path)
    file = collections.create(CLIP) / DEFINITION_NAME
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **wrong}))
    with pytest.raises(CollectionError, match=f"{file} cannot be used: .*{message}"):
        collections.get(CLIP.name)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"format": 1}', b"null", b"[" * 100_000])
def test_a_damaged_description_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    collections = CollectionDirectory(tmp_path)
    file = collections.create(CLIP) / DEFINITION_NAME
    file.write_bytes(content)
    with pytest.raises(CollectionError, match=f"{file} cannot be used"):
        collections.get(CLIP.name)


def test_a_collection_must_keep_the_name_of_its_directory(tmp_path: Path) -> None:
    collections = CollectionDirectory(tmp_path)
    collections.create(CLIP).rename(tmp_path / "other")
    with pytest.raises(CollectionError, match="defines the collection clip-vit-b-32"):
        collections.get("other")


def test_nothing_is_created_over_what_is_there(tmp_path: Path) -> None:
    collections = CollectionDirectory(tmp_path)
    collections.create(CLIP)
    (tmp_path / "lite").mkdir()  # an index of the default store
    for definition in (CollectionDefinition(CLIP.name, 4), LITE):
        with pytest.raises(CollectionError, match="exists: choose another name"):
            collections.create(definition)
    assert collections.get(CLIP.name) == CLIP
    assert collections.names() == [CLIP.name]


def test_a_directory_that_is_no_collection_is_neither_read_nor_dropped(tmp_path: Path) -> None:
    (tmp_path / "lite").mkdir()
    collections = CollectionDirectory(tmp_path)
    for ask in (collections.get, collections.drop):
        with pytest.raises(UnknownCollectionError, match="unknown collection: lite"):
            ask("lite")
    assert (tmp_path / "lite").exists()


def test_a_dropped_collection_is_kept_and_can_come_back(tmp_path: Path) -> None:
    collections = CollectionDirectory(tmp_path)
    collections.create(CLIP)
    kept = collections.drop(CLIP.name)
    assert kept is not None
    assert kept.name.startswith(".clip-vit-b-32.dropped-")
    assert collections.names() == []
    collections.create(CLIP)
    again = collections.drop(CLIP.name)
    assert again is not None
    assert again != kept
    kept.rename(tmp_path / CLIP.name)
    assert collections.get(CLIP.name) == CLIP


def test_a_collection_can_be_dropped_for_good(tmp_path: Path) -> None:
    collections = CollectionDirectory(tmp_path)
    collections.create(CLIP)
    assert collections.drop(CLIP.name, keep=False) is None
    assert [path.name for path in tmp_path.iterdir()] == [".collections.lock"]


def test_a_creation_killed_at_any_step_leaves_all_or_nothing(tmp_path: Path) -> None:
    collections = CollectionDirectory(tmp_path / "data")
    (tmp_path / "data").mkdir()
    names = []
    for _ in killed_before_each_step(tmp_path / "data", lambda: collections.create(CLIP)):
        names += collections.names()
        assert [collections.get(name) for name in collections.names()] == [CLIP] * len(collections.names())
        if not collections.names():
            collections.create(CLIP)
        assert collections.get(CLIP.name) == CLIP
        assert {path.name for path in (tmp_path / "data").iterdir()} == {".collections.lock", CLIP.name}
    assert 0 < len(names) < 5


@pytest.mark.parametrize("keep", [True, False])
def test_a_drop_killed_at_any_step_leaves_the_collection_or_is_done(tmp_path: Path, keep: bool) -> None:
    data = tmp_path / "data"
    data.mkdir()
    collections = CollectionDirectory(data)
    (collections.create(CLIP) / "logos.hdf5").write_bytes(b"rows")
    steps = 0
    for _ in killed_before_each_step(data, lambda: collections.drop(CLIP.name, keep=keep)):
        steps += 1
        if collections.names():
            assert (data / CLIP.name / "logos.hdf5").read_bytes() == b"rows"
        elif keep:
            assert [path.read_bytes() for path in data.glob(".*.dropped-*/logos.hdf5")] == [b"rows"]
        collections.drop(CLIP.name, keep=False) if collections.names() else collections.create(CLIP)
        assert not [*data.glob(".*.creating")]
    assert steps > 3


def test_one_of_many_processes_creates_it(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        created = pool.map(try_to_create, [tmp_path] * 8)
    assert sorted(created) == [False] * 7 + [True]


def try_to_create(data_dir: Path) -> bool:
    try:
        CollectionDirectory(data_dir).create(CLIP)
    except CollectionError:
        return False
    return True


def test_a_directory_that_cannot_be_written_is_an_error_of_the_room(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with without_privileges(), pytest.raises(StoreUnavailableError, match="cannot create"):
        CollectionDirectory(tmp_path).create(CLIP)
