"""The operator's commands with ANN_ENGINE=milvus."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import falcon.testing
import numpy as np
import pytest
from click.testing import CliRunner, Result

import index.sample
from api.app import create_app
from commands.shell import BUSY
from embeddings.store.store import EmbeddingStore
from index.distances.survey import ALL_PAIRS_OF, survey
from index.distances.survey_file import read_survey
from index.errors import EngineUnreachableError
from index.files.build_lock import build_lock
from index.map.map_file import MAP_NAME, read_map
from index.milvus import collection_files, collections, patience
from index.milvus.catalog import MAPS
from manage import cli
from tests.embeddings.damage import damage_embedding
from tests.index.samples import some_logos
from tests.milvus.samples import DIM, CountedMilvus, held, milvus_at, store_with
from tests.milvus.servers.lite import LiteServer
from tests.original_files import DIM as MODEL_DIM
from tests.original_files import write_pair, write_store
from tests.settings_with import settings_with
from tests.waiting import PATIENCE

INDEX = "efficientnet-b0"
ALIAS = "logos_efficientnet_b0"
LOGOS = some_logos(40)
Run = Callable[..., Result]


@pytest.fixture
def run(lite: LiteServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_maps: None) -> Run:
    settings = {"DATA_DIR": str(tmp_path), "ENGINE": "milvus", "MILVUS_URI": lite.uri, "RELOAD_SECONDS": "0.05"}
    for name, value in settings.items():
        monkeypatch.setenv(f"ANN_{name}", value)
    monkeypatch.setattr(os, "setpriority", lambda *_: None)  # it would be that of the tests
    monkeypatch.setattr(patience, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(index.sample, "QUERIES", 5)
    monkeypatch.setattr(collection_files, "FEWEST_LOGOS", 40)
    return lambda *arguments: CliRunner().invoke(cli, arguments)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    path = tmp_path / f"{INDEX}.hdf5"
    store_with(path, LOGOS).close()
    return path


def answering(milvus: CountedMilvus, alias: str = ALIAS) -> str:
    name = collections.aliased(milvus, alias)
    assert name is not None
    return name


def maps(index_dir: Path) -> list[str]:
    return sorted(path.name for path in (index_dir / MAPS).iterdir())


def test_it_builds_a_collection_and_draws_its_map(
    run: Run, lite: LiteServer, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    milvus = milvus_at(lite)
    result = run("generate-index")
    assert result.exit_code == 0, result.output
    first = answering(milvus)
    assert set(held(milvus, first)) == set(LOGOS[0].tolist())
    (stamp,) = maps(store_path.parent / INDEX)
    assert first == f"{ALIAS}_{stamp}"
    drawn = read_map(store_path.parent / INDEX / MAPS / stamp)
    assert drawn is not None
    assert sorted(drawn.logo_ids.tolist()) == sorted(LOGOS[0].tolist())


@pytest.mark.parametrize("all_pairs_of", [0, ALL_PAIRS_OF], ids=["searched", "all pairs"])
def test_it_measures_the_distances_of_the_collection(
    run: Run, lite: LiteServer, store_path: Path, monkeypatch: pytest.MonkeyPatch, all_pairs_of: int
) -> None:
    ids, vectors = LOGOS
    with EmbeddingStore(store_path) as store:
        store.append([9001, 9002], vectors[[0, 7]])
    defaults = survey.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "all_pairs_of", all_pairs_of)
    assert run("generate-index").exit_code == 0
    (stamp,) = maps(store_path.parent / INDEX)
    found = read_survey(store_path.parent / INDEX / MAPS / stamp)
    assert found is not None
    assert found.searched == 42
    between = np.linalg.norm(vectors[:, np.newaxis] - vectors, axis=2)
    assert found.any_two[100] == pytest.approx(between.max(), rel=1e-4)
    assert {tuple(pair) for pair in found.pairs.logo_ids.tolist()} >= {(ids[0], 9001), (ids[7], 9002)}
    assert found.pairs.distances[:2] == pytest.approx([0, 0], abs=1e-4)


def test_distances_that_cannot_be_measured_fail_no_build(
    run: Run, lite: LiteServer, store_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise EngineUnreachableError("gone")

    monkeypatch.setattr("index.distances.survey.survey", fail)
    assert run("generate-index").exit_code == 0
    assert "has no survey of distances; the next build makes one" in caplog.text
    assert answering(milvus_at(lite))
    caplog.clear()
    assert run("generate-index", "--compare", "0").exit_code == 0
    assert "distances" not in caplog.text


def test_maps_go_with_their_collections(
    run: Run, lite: LiteServer, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    milvus, index_dir, kept = milvus_at(lite), store_path.parent / INDEX, []
    for _ in range(3):
        assert run("generate-index").exit_code == 0
        kept.append(answering(milvus).removeprefix(f"{ALIAS}_"))
    assert maps(index_dir) == kept[1:]
    monkeypatch.setenv("ANN_MAP_POINTS", "0")
    assert run("generate-index").exit_code == 0
    assert read_map(index_dir / MAPS / answering(milvus).removeprefix(f"{ALIAS}_")) is None
    monkeypatch.setenv("ANN_MAP_POINTS", "12")
    assert run("generate-index", "--keep", "1").exit_code == 0
    (stamp,) = maps(index_dir)
    assert answering(milvus) == f"{ALIAS}_{stamp}"
    drawn = read_map(index_dir / MAPS / stamp)
    assert drawn is not None
    assert len(drawn.logo_ids) == 12


def test_a_map_that_cannot_be_drawn_fails_no_build(
    run: Run, lite: LiteServer, store_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("no memory left")

    with monkeypatch.context() as patch:
        patch.setattr(collection_files, "draw_map", fail)
        assert run("generate-index").exit_code == 0
    assert "has no map" in caplog.text
    assert answering(milvus_at(lite))
    assert run("generate-index").exit_code == 0
    (second,) = (store_path.parent / INDEX / MAPS).glob(f"*/{MAP_NAME}")
    second.write_bytes(b"damaged")
    assert run("generate-index").exit_code == 0
    assert "skipping a damaged map" in caplog.text


@pytest.mark.parametrize("arguments", [["--tree-count", "5"], ["--no-reduce"], ["--jobs", "1"], ["--on-disk"]])
def test_what_is_for_annoy_is_refused(run: Run, store_path: Path, lite: LiteServer, arguments: list[str]) -> None:
    result = run("generate-index", *arguments)
    assert result.exit_code == 2
    assert "is for Annoy; set ANN_MILVUS_INDEX to choose the type of index in Milvus" in result.output
    assert milvus_at(lite).call("list_collections", seconds=PATIENCE) == []


def test_a_pair_of_files_is_annoys_whatever_the_engine(run: Run, store_path: Path, tmp_path: Path) -> None:
    result = run("generate-index", str(tmp_path / "pair"), "--tree-count", "3")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "pair" / "index.bin").exists()


def test_a_dry_run_says_what_would_be_done_and_asks_milvus_nothing(
    run: Run, lite: LiteServer, store_path: Path
) -> None:
    lite.kill()
    result = run("generate-index", "--dry-run")
    assert result.exit_code == 0
    assert f"would index 40 logos of {DIM} values in Milvus at {lite.uri}, FLAT" in result.output
    assert not (store_path.parent / INDEX).exists()


def test_a_build_that_is_not_to_wait_for_another_says_so(run: Run, store_path: Path) -> None:
    index_dir = store_path.parent / INDEX
    index_dir.mkdir()
    with build_lock(index_dir / ".generate.lock", wait=True):
        result = run("generate-index", "--no-wait")
    assert (result.exit_code, BUSY) == (75, 75)
    assert "another build" in result.output


def test_an_empty_store_is_nothing_to_index_and_no_fault(run: Run, lite: LiteServer, tmp_path: Path) -> None:
    store_with(tmp_path / f"{INDEX}.hdf5", some_logos(0)).close()
    assert run("generate-index").exit_code == 0
    assert milvus_at(lite).call("list_collections", seconds=PATIENCE) == []


def test_a_milvus_that_is_away_is_waited_for_only_so_long(
    run: Run, lite: LiteServer, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANN_MILVUS_BUILD_SECONDS", "0.1")
    lite.kill()
    result = run("generate-index")
    assert result.exit_code == 1
    assert lite.uri in result.output
    assert "Traceback" not in result.output


def test_damaged_rows_are_left_out_and_exit_with_1(run: Run, lite: LiteServer, store_path: Path) -> None:
    damage_embedding(store_path, 4)
    result = run("generate-index")
    assert result.exit_code == 1
    assert "1 damaged rows were left out" in result.output
    milvus = milvus_at(lite)
    assert set(held(milvus, answering(milvus))) == {*LOGOS[0].tolist()} - {int(LOGOS[0][4])}


def test_the_very_logos_of_the_annoy_index_are_taken(
    run: Run, lite: LiteServer, store_path: Path, tmp_path: Path
) -> None:
    milvus, ids = milvus_at(lite), LOGOS[0].tolist()
    result = run("generate-index", "--as-indexed")
    assert result.exit_code == 1
    assert "contains no Annoy index whose logos could be used" in result.output

    write_pair(tmp_path / INDEX, ids[:30], LOGOS[1][:30])
    assert run("generate-index", "--as-indexed").exit_code == 0
    assert set(held(milvus, answering(milvus))) == set(ids[:30])

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANN_ENGINE", "annoy")
        with EmbeddingStore(store_path) as store:
            store.delete(ids[:20])
        assert run("generate-index", "--tree-count", "2").exit_code == 0
        assert run("generate-index", "--as-indexed").exit_code == 2
    assert run("generate-index", "--as-indexed", str(tmp_path / "pair")).exit_code == 2
    assert run("generate-index", "--as-indexed").exit_code == 0
    assert set(held(milvus, answering(milvus))) == set(ids[20:])


def test_another_index_has_a_collection_of_its_own(run: Run, lite: LiteServer, store_path: Path) -> None:
    milvus = milvus_at(lite)
    assert run("generate-index", "--index", "brands-2").exit_code == 0
    assert len(held(milvus, answering(milvus, "logos_brands_2"))) == 40
    result = run("generate-index", "--index", "brands_2")
    assert result.exit_code == 1
    assert "choose another name" in result.output


def test_stats_tells_of_the_collection(run: Run, lite: LiteServer, store_path: Path) -> None:
    assert json.loads(run("stats", "--json").stdout)["indexes"][INDEX]["serving"] is None
    assert run("generate-index").exit_code == 0
    with EmbeddingStore(store_path) as store:
        store.append(np.array([9001]), np.ones((1, DIM), np.float32))

    told = json.loads(run("stats", "--json").stdout)["indexes"][INDEX]

    (stamp,) = maps(store_path.parent / INDEX)
    assert (told["serving"], told["logos"], told["logos_not_indexed"], told["trees"]) == (stamp, 40, 1, 0)
    assert (told["recall_at_10"], told["points_on_map"], told["error"]) == (1.0, 40, None)
    lite.kill()
    assert lite.uri in json.loads(run("stats", "--json").stdout)["indexes"][INDEX]["error"]


def test_verify_counts_what_milvus_lacks_which_is_no_damage(run: Run, lite: LiteServer, store_path: Path) -> None:
    assert run("generate-index").exit_code == 0
    milvus = milvus_at(lite)
    milvus.call("delete", answering(milvus), ids=LOGOS[0][:3].tolist(), seconds=PATIENCE)
    result = run("verify")
    assert result.exit_code == 0
    assert "40 logos checked" in result.output
    assert f"{lite.uri}: 3 of 40 stored logos are not in it" in result.output


def test_verify_names_damages_also_where_milvus_is_away(run: Run, lite: LiteServer, store_path: Path) -> None:
    damage_embedding(store_path, 4)
    lite.kill()
    result = run("verify")
    assert result.exit_code == 1
    assert "row 4" in result.output
    assert lite.uri in result.output


def test_the_explorer_is_told_of_the_collection_and_its_map(run: Run, lite: LiteServer, tmp_path: Path) -> None:
    ids, vectors = some_logos(60, MODEL_DIM)
    write_store(tmp_path / f"{INDEX}.hdf5", ids.tolist(), vectors)
    assert run("generate-index").exit_code == 0
    app = create_app(settings_with(data_dir=tmp_path, engine="milvus", milvus_uri=lite.uri))
    try:
        client = falcon.testing.TestClient(app)
        routes = ("status", "map", "distances", "duplicates")
        status, drawn, apart, alike = (client.simulate_get(f"/api/v1/ann/{path}").json for path in routes)
    finally:
        app.parts.close()
    (stamp,) = maps(tmp_path / INDEX)
    assert (status["index"], status["generation"], status["indexes"]) == (INDEX, stamp, [INDEX])
    assert (status["logos_indexed"], status["logos_stored"], status["logos_waiting"]) == (60, 60, 0)
    assert (status["map_points"], status["error"]) == (60, None)
    assert drawn["generation"] == stamp
    assert sorted(drawn["logo_ids"]) == sorted(ids.tolist())
    assert (apart["generation"], len(apart["any_two"]), len(apart["nearest"])) == (stamp, 101, 101)
    assert (alike["generation"], alike["logos_compared"]) == (stamp, 60)
