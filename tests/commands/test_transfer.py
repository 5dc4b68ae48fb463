"""`export`, `import` and `re-embed`, called as the shell calls them, and killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from embeddings.attributes.attribute_store import AttributeStore, attributes_path
from embeddings.maintenance.rewrite import prepare_store
from embeddings.model.description import locate_model
from embeddings.store.layout import ModelStamp
from embeddings.store.provenance import Provenance
from embeddings.store.store import EmbeddingStore
from manage import cli
from tests.original_files import random_vectors
from tests.photo_server import PhotoServer
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
BOX = (0.1, 0.2, 0.6, 0.7)
Run = Callable[..., Result]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ANN_ALLOW_PRIVATE_IMAGE_HOSTS", "1")
    monkeypatch.setenv("ANN_STORE_CAPACITY", "1000")
    monkeypatch.setattr(os, "setpriority", lambda *_: None)  # it would be that of the tests


@pytest.fixture
def run(environment: None) -> Run:
    return lambda *arguments: CliRunner().invoke(cli, [str(argument) for argument in arguments])


def started(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "manage.py", *map(str, arguments)], cwd=ROOT, env=os.environ)


def old_store(data: Path, provenance: dict[int, Provenance | None], capacity: int = 1000) -> Path:
    path = data / "efficientnet-b0.hdf5"
    prepare_store(path, capacity=capacity, dim=1280, stamp=ModelStamp("efficientnet-b0", "old"))
    with EmbeddingStore(path) as store:
        store.append([*provenance], random_vectors(len(provenance)), [*provenance.values()])
    return path


def ids_of(path: Path) -> list[int]:
    with EmbeddingStore(path, writable=False) as store:
        ids: list[int] = store.ids().tolist()
        return ids


def test_attributes_move_along(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old_store(tmp_path, {7: None, 8: None, 9: None})
    file = tmp_path / "logos.parquet"
    with AttributeStore(attributes_path(path)) as attributes:
        attributes.merge({7: {"type": "brand", "value": "a"}, 9: {"value": "b"}})
    assert run("export", file).exit_code == 0
    monkeypatch.setenv("ANN_DATA_DIR", str(tmp_path / "elsewhere"))
    answer = run("import", file, "--any-model")
    assert answer.exit_code == 0, answer.output
    with AttributeStore(attributes_path(tmp_path / "elsewhere" / "efficientnet-b0.hdf5")) as attributes:
        assert dict(attributes.items()) == {7: {"type": "brand", "value": "a"}, 9: {"value": "b"}}
    table = pq.read_table(file)
    column = table.schema.get_field_index("attributes")
    maps = pa.array([[("Type", "a")], None, None], pa.map_(pa.string(), pa.string()))
    for values, says in ((maps, "attributes of logo 7"), (pa.array(["a", "b", "c"]), "maps of strings")):
        pq.write_table(table.set_column(column, "attributes", values), file)
        answer = run("import", file, "--any-model")
        assert (answer.exit_code, says in answer.stderr) == (1, True)


def test_logos_move_from_one_service_to_another(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = locate_model("efficientnet-lite0", "bundled", tmp_path).description.weights_digest
    path = tmp_path / "efficientnet-b0.hdf5"
    prepare_store(path, capacity=10, dim=1280, stamp=ModelStamp("efficientnet-lite0", digest))
    with EmbeddingStore(path) as store:
        store.append([7, 8], random_vectors(2), [Provenance("http://a.example/1.jpg", BOX), None])
    answer = run("export", tmp_path / "logos.parquet")
    assert (answer.exit_code, answer.output) == (
        0,
        f"{tmp_path / 'logos.parquet'} holds 2 logos, 1 of them with provenance\n",
    )
    monkeypatch.setenv("ANN_DATA_DIR", str(tmp_path / "elsewhere"))
    answer = run("import", tmp_path / "logos.parquet")
    assert answer.exit_code == 0, answer.output
    assert "holds 2 logos, 2 of them were new" in answer.output
    assert "2 logos, 0 of them" in run("import", tmp_path / "logos.parquet").output
    with EmbeddingStore(tmp_path / "elsewhere" / "efficientnet-b0.hdf5") as other:
        assert np.array_equal(other.get(8), random_vectors(2)[1])
        assert other.provenance([7, 8]) == {7: Provenance("http://a.example/1.jpg", BOX)}


def test_an_import_sets_only_the_attributes_that_a_logo_lacks(run: Run, tmp_path: Path) -> None:
    old_store(tmp_path, {7: None, 8: None})
    path = tmp_path / "efficientnet-b0.hdf5"
    with AttributeStore(attributes_path(path)) as attributes:
        attributes.merge({7: {"type": "brand", "value": "old"}, 8: {"value": "old"}})
        assert run("export", tmp_path / "logos.parquet").exit_code == 0
        attributes.merge({7: {"type": None, "value": "new"}, 8: {"seen": "twice"}})
        assert run("import", "--any-model", tmp_path / "logos.parquet").exit_code == 0
        assert attributes.get([7, 8]) == {7: {"type": "brand", "value": "new"}, 8: {"seen": "twice", "value": "old"}}


def test_what_an_import_refuses_is_one_line(run: Run, tmp_path: Path) -> None:
    old_store(tmp_path, {7: None})
    pq.write_table(pa.table({"logo_id": [1], "embedding": [[1.0, 2.0]]}), tmp_path / "x.parquet")
    answer = run("import", tmp_path / "x.parquet")
    assert answer.exit_code == 1
    assert "--any-model" in answer.output
    answer = run("import", "--any-model", tmp_path / "x.parquet")
    assert answer.output.splitlines()[-1] == "Error: row 0: embedding has 2 values instead of 1280"


def test_re_embed_makes_a_store_of_the_model_of_the_settings(run: Run, tmp_path: Path, photos: PhotoServer) -> None:
    known = {k: Provenance(photos.url(f"/{k}.jpg"), BOX) for k in (1, 2, 3)}
    old_store(tmp_path, {**known, 4: Provenance(photos.url("/gone.jpg"), BOX), 5: None})
    answer = run("re-embed", tmp_path / "new.hdf5")
    assert answer.exit_code == 1
    assert "holds 3 logos; this run embedded 3" in answer.output
    assert "1 failed:" in answer.output
    assert "1 have no provenance: 5" in answer.output
    assert "lacks 2 logos" in answer.output
    assert json.loads((tmp_path / "new.hdf5.failed.jsonl").read_text())["logo_ids"] == [4]
    with EmbeddingStore(tmp_path / "new.hdf5") as new:
        assert new.stamp.digest != "old"
        found = new.provenance(new.ids().tolist())
    assert found == {k: replace(origin, orientation=1) for k, origin in known.items()}


def test_a_collection_is_embedded_again_with_its_attributes(run: Run, tmp_path: Path, photos: PhotoServer) -> None:
    assert run("create-collection", "lite", "--embedder").exit_code == 0
    path = tmp_path / "lite" / "logos.hdf5"
    prepare_store(path, capacity=10, dim=1280, stamp=ModelStamp("efficientnet-lite0", "old"))
    with EmbeddingStore(path) as store, AttributeStore(attributes_path(path)) as attributes:
        store.append([1, 2], random_vectors(2), [Provenance(photos.url(f"/{k}.jpg"), BOX) for k in (1, 2)])
        attributes.merge({1: {"type": "brand"}})
    answer = run("re-embed", "--index", "lite", tmp_path / "new.hdf5")
    assert (answer.exit_code, "new.hdf5.attributes holds the attributes of 1 logos" in answer.output) == (0, True)
    assert "`manage.py restore --index lite --replace" in answer.output
    assert "`manage.py generate-index --index lite`" in answer.output
    assert ids_of(path) == [1, 2]
    with AttributeStore(attributes_path(path)) as attributes:
        attributes.merge({1: {"type": "label"}})
    assert run("re-embed", "--index", "lite", tmp_path / "new.hdf5").exit_code == 0  # takes up what changed
    assert run("restore", "--index", "lite", "--replace", tmp_path / "new.hdf5").exit_code == 0
    with EmbeddingStore(path) as store, AttributeStore(attributes_path(path)) as attributes:
        assert store.stamp.digest != "old"
        assert attributes.get([1, 2]) == {1: {"type": "label"}}
    assert run("migrate-store", "--index", "lite", "--capacity", "20").exit_code == 0
    with EmbeddingStore(path) as store:
        assert (store.capacity, store.ids().tolist()) == (20, [1, 2])


def test_vectors_of_clients_are_not_embedded_again(run: Run, tmp_path: Path) -> None:
    assert run("create-collection", "clip", "--dim", "8").exit_code == 0
    answer = run("re-embed", "--index", "clip", tmp_path / "new.hdf5")
    assert answer.exit_code == 1
    assert "clip has no embedder: its clients make the vectors" in answer.output
    assert "/add_embeddings?index=clip&replace=true" in answer.output
    assert not (tmp_path / "new.hdf5").exists()


def test_the_new_store_takes_the_place_of_the_old_one(run: Run, tmp_path: Path, photos: PhotoServer) -> None:
    old_store(tmp_path, {1: Provenance(photos.url("/1.jpg"), BOX), 2: Provenance(photos.url("/2.jpg"), BOX)})
    assert run("re-embed", tmp_path / "new.hdf5").exit_code == 0
    assert run("restore", "--replace", tmp_path / "new.hdf5").exit_code == 0
    assert run("generate-index").exit_code == 0
    assert ids_of(tmp_path / "efficientnet-b0.replaced.hdf5") == [1, 2]
    answer = run("re-embed", tmp_path / "newer.hdf5")
    assert answer.exit_code == 1
    assert "already has vectors of this model" in answer.output


def test_a_file_can_say_where_logos_come_from(run: Run, tmp_path: Path, photos: PhotoServer) -> None:
    columns = {"logo_id": [1, 2], "image_url": [photos.url("/1.jpg"), photos.url("/2.jpg")]}
    pq.write_table(pa.table({**columns, "bounding_box": [[*BOX], [*BOX]]}), tmp_path / "known.parquet")
    answer = run("re-embed", "--from", tmp_path / "known.parquet", tmp_path / "efficientnet-b0.hdf5")
    assert answer.exit_code == 0, answer.output
    assert ids_of(tmp_path / "efficientnet-b0.hdf5") == [1, 2]


def test_re_embedding_goes_on_after_a_kill(run: Run, tmp_path: Path, photos: PhotoServer) -> None:
    urls = [photos.url(f"/{k}.jpg") for k in range(6)] + [photos.url("/slow")]
    urls += [photos.url(f"/{k}.jpg") for k in range(6, 12)]
    old_store(tmp_path, {place + 1: Provenance(url, BOX) for place, url in enumerate(urls)})
    process = started("re-embed", "--jobs", "1", tmp_path / "new.hdf5")
    try:
        wait_until(lambda: (tmp_path / "new.hdf5").exists() and len(ids_of(tmp_path / "new.hdf5")) >= 4)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    held = ids_of(tmp_path / "new.hdf5")
    assert 4 <= len(held) <= 6
    photos.release.set()
    answer = run("re-embed", tmp_path / "new.hdf5")
    assert answer.exit_code == 0, answer.output
    assert f"this run embedded {13 - len(held)}" in answer.output
    assert ids_of(tmp_path / "new.hdf5") == [*range(1, 14)]


def test_a_killed_export_leaves_the_earlier_file(run: Run, tmp_path: Path) -> None:
    logos = 20_000
    path = old_store(tmp_path, {1: None}, capacity=logos)
    target = tmp_path / "logos.parquet"
    assert run("export", target).exit_code == 0
    earlier = target.read_bytes()
    with EmbeddingStore(path) as store:
        store.append(range(2, logos + 1), np.ones((logos - 1, 1280), np.float32))
    process = started("export", "--replace", target)
    try:
        wait_until((tmp_path / "logos.parquet.partial").exists)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert target.read_bytes() == earlier
    assert run("export", "--replace", target).exit_code == 0
    assert pq.ParquetFile(target).metadata.num_rows == logos
    assert not (tmp_path / "logos.parquet.partial").exists()
