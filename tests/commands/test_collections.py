"""The commands for collections, called as the shell calls them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from commands.shell import BUSY
from embeddings.maintenance.rewrite import prepare_store
from embeddings.store.layout import ModelStamp
from embeddings.store.store import EmbeddingStore
from index.cosine import unit_rows
from index.files.build_lock import build_lock
from index.files.generations import current_generation
from index.loading import load_index
from manage import cli
from tests.original_files import random_vectors

Run = Callable[..., Result]
RNG = np.random.default_rng(5)
VECTORS = (RNG.normal(size=(40, 16)) * RNG.uniform(0.1, 10, (40, 1))).astype(np.float32)
CREATE = ("create-collection", "clip", "--dim", "16", "--metric", "cosine")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ANN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ANN_STORE_CAPACITY", "60")
    monkeypatch.setattr(os, "setpriority", lambda *_: None)  # it would be that of the tests
    return lambda *arguments, **options: CliRunner().invoke(cli, arguments, **options)


def good(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def store_path(tmp_path: Path, run: Run) -> Path:
    """The store of a collection with 40 logos."""
    good(run(*CREATE))
    assert "clip: 0 logos; 16 values, cosine, takes vectors only, finds new logos at once" in good(
        run("list-collections")
    )
    path = tmp_path / "clip" / "logos.hdf5"
    with EmbeddingStore(path) as store:
        store.append(range(1, 41), VECTORS)
    return path


def make_default_store(data_dir: Path) -> None:
    default = data_dir / "efficientnet-b0.hdf5"
    prepare_store(default, capacity=20, dim=1280, stamp=ModelStamp("efficientnet-b0", "d" * 64))
    with EmbeddingStore(default) as store:
        store.append(range(1, 11), random_vectors(10))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (CREATE, "exists"),
        (("create-collection", "Upper", "--dim", "16"), "lower-case"),
        (("create-collection", "efficientnet-b0", "--dim", "16"), "default collection"),
        (("create-collection", "other"), "--dim is missing"),
        (("create-collection", "other", "--dim", "1"), "--dim"),
        (("create-collection", "other", "--dim", "16", "--embedder"), "1280 values"),
        (("drop-collection", "other", "--yes"), "unknown collection: other"),
        (("stats", "--index", "other"), "unknown collection: other"),
        (("generate-index", "--all", "--index", "clip"), "--all takes neither"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    run: Run, store_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert says in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("options", [(), ("--no-reduce",)])
def test_the_index_of_a_collection_is_built_of_its_own_vectors(
    run: Run, store_path: Path, options: tuple[str, ...]
) -> None:
    assert "40 logos of 16 values" in good(run("generate-index", "--index", "clip", "--dry-run"))
    good(run("generate-index", "--index", "clip", *options))
    generation = current_generation(store_path.parent)
    assert generation is not None
    units = unit_rows(VECTORS)
    index = load_index(generation, dim=16, vectors=lambda ids: units[ids - 1].copy())
    found = index.nearest_to_logo(7, 40)
    assert found.distances == pytest.approx(np.sort(np.linalg.norm(units - units[6], axis=1)), abs=1e-5)
    assert "good" in good(run("verify", "--index", "clip"))


def test_all_indexes_are_built_by_one_command(run: Run, store_path: Path, tmp_path: Path) -> None:
    make_default_store(tmp_path)
    good(run("create-collection", "empty", "--dim", "3"))
    good(run("generate-index", "--all"))
    assert current_generation(tmp_path / "efficientnet-b0") is not None
    assert current_generation(tmp_path / "clip") is not None
    assert current_generation(tmp_path / "empty") is None
    of_default, of_clip = (json.loads(good(run("stats", "--json", *more))) for more in ((), ("--index", "clip")))
    assert [*of_default["indexes"]] == ["efficientnet-b0"]
    assert (of_clip["store"]["logos"], of_clip["store"]["metric"]) == (40, "cosine")
    assert of_clip["indexes"]["clip"]["logos"] == 40
    checked = good(run("verify"))
    assert "clip" not in checked


def test_one_that_cannot_be_built_does_not_keep_the_others_from_theirs(
    run: Run, store_path: Path, tmp_path: Path
) -> None:
    make_default_store(tmp_path)
    good(run("create-collection", "a-broken", "--dim", "3"))
    (tmp_path / "a-broken" / "logos.hdf5").write_bytes(b"no store")
    answer = run("generate-index", "--all")
    assert (answer.exit_code, "not built: a-broken" in answer.output) == (1, True), answer.output
    assert current_generation(tmp_path / "efficientnet-b0") is not None
    assert current_generation(tmp_path / "clip") is not None


def test_a_build_of_all_that_meets_another_build_says_to_try_again(run: Run, store_path: Path, tmp_path: Path) -> None:
    make_default_store(tmp_path)
    with build_lock(tmp_path / "clip" / ".generate.lock", wait=False):
        answer = run("generate-index", "--all", "--no-wait")
    assert answer.exit_code == BUSY, answer.output


def test_a_collection_is_backed_up_restored_compacted_grown_and_moved(
    run: Run, store_path: Path, tmp_path: Path
) -> None:
    there, of = tmp_path / "elsewhere", ("--index", "clip")
    there.mkdir()
    good(run("backup", *of, str(there / "clip.hdf5")))
    good(run("export", *of, str(there / "clip.parquet")))
    good(run("delete-logos", *of, "1", "2"))
    good(run("compact", *of))
    good(run("grow", *of, "70"))
    good(run("repair", *of))
    with EmbeddingStore(store_path, writable=False) as store:
        assert (len(store), store.capacity) == (38, 70)
    good(run("import", *of, str(there / "clip.parquet")))
    with EmbeddingStore(store_path, writable=False) as store:
        assert len(store) == 40
    good(run("delete-logos", *of, "3"))
    good(run("restore", *of, "--replace", str(there / "clip.hdf5")))
    with EmbeddingStore(store_path, writable=False) as store:
        assert store.get(3).tolist() == VECTORS[2].tolist()
    assert not (tmp_path / "efficientnet-b0.hdf5").exists()


def test_dropping_asks_and_keeps_the_files_unless_told(run: Run, store_path: Path) -> None:
    assert run("drop-collection", "clip", input="n\n").exit_code == 1
    assert store_path.exists()
    kept = Path(good(run("drop-collection", "clip", input="y\n")).rpartition(" in ")[2].strip())
    assert (kept / "logos.hdf5").exists()
    assert not store_path.parent.exists()
    good(run(*CREATE))
    good(run("drop-collection", "clip", "--yes", "--delete-files"))
    assert [path.name for path in kept.parent.iterdir() if path.name.startswith(".clip")] == [kept.name]
    assert good(run("list-collections")) == ""
