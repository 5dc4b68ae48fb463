"""The map of an index: drawn from its logos, stored in its generation, and read back only if it is whole."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.errors import IndexDamagedError
from index.files.audit import audit
from index.files.generations import publish
from index.map.logo_map import add_map, earlier_map, sampled
from index.map.map_file import MAP_NAME, SIDE, LogoMap, MapFile, file_stamp, read_map, write_map
from index.map.tsne import STEPS, STEPS_FROM_EARLIER
from tests.index.samples import Logos, build, killed_before_each_step, some_logos

LOGOS = some_logos(60)


def vectors_of(logos: Logos) -> Callable[[Any], Any]:
    rows = dict(zip(logos[0].tolist(), logos[1], strict=True))
    missing = np.full(logos[1].shape[1], np.nan, np.float32)
    return lambda ids: np.array([rows.get(i, missing) for i in ids.tolist()], np.float32).reshape(-1, len(missing))


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    return publish(tmp_path / "logos", lambda directory: build(directory, LOGOS, weights_digest="w"))


def test_a_map_shows_each_logo_of_a_small_index_on_the_square(generation: Path) -> None:
    made = add_map(generation, vectors_of(LOGOS))
    fields = json.loads(gzip.decompress((generation / MAP_NAME).read_bytes()))
    assert [*fields] == ["generation", "logo_ids", "x", "y"]
    assert fields["generation"] == generation.name
    assert sorted(fields["logo_ids"]) == sorted(LOGOS[0].tolist())
    assert np.array_equal(np.stack([fields["x"], fields["y"]], axis=1), made.positions)
    assert made.positions.min() == 0
    assert made.positions.max() == SIDE
    file = MapFile.read(generation)
    assert file is not None
    assert (file.points, file.compressed) == (60, (generation / MAP_NAME).read_bytes())


def test_alike_logos_lie_together(generation: Path) -> None:
    made = add_map(generation, vectors_of(LOGOS))
    vectors = vectors_of(LOGOS)(made.logo_ids)

    def of_nearest(points: Any) -> Any:
        distances = ((points[:, np.newaxis] - points) ** 2).sum(axis=2)
        np.fill_diagonal(distances, np.inf)
        return distances.argmin(axis=1)

    on_map = vectors[of_nearest(made.positions.astype(float))]
    by_chance = np.linalg.norm(vectors - vectors[::-1], axis=1).mean()
    assert np.linalg.norm(vectors - on_map, axis=1).mean() < by_chance / 2


@pytest.mark.parametrize("count", [0, 1, 7, 60, 1000])
def test_a_map_shows_no_more_logos_than_asked_for(generation: Path, count: int) -> None:
    made = add_map(generation, vectors_of(LOGOS), max_points=count)
    assert len(made.logo_ids) == min(count, 60) == len(set(made.logo_ids.tolist()))
    assert set(made.logo_ids.tolist()) <= set(LOGOS[0].tolist())


def test_logos_without_usable_vectors_are_left_out(generation: Path) -> None:
    some = LOGOS[0][:50], LOGOS[1][:50]
    assert sorted(add_map(generation, vectors_of(some)).logo_ids.tolist()) == sorted(some[0].tolist())
    none = LOGOS[0][:0], LOGOS[1][:0]
    assert len(add_map(generation, vectors_of(none)).logo_ids) == 0
    assert MapFile.read(generation) is not None


def test_a_larger_sample_holds_the_smaller_and_a_grown_index_most_of_the_old_one() -> None:
    ids = np.arange(1, 10_001)
    assert {*sampled(ids, 100).tolist()} <= {*sampled(ids, 200).tolist()}
    assert sampled(ids, 100).tolist() == sampled(ids[::-1], 100).tolist()
    kept = {*sampled(ids, 1000).tolist()} & {*sampled(np.arange(1, 11_001), 1000).tolist()}
    assert 850 < len(kept) < 970
    assert abs(sampled(ids, 1000).mean() - 5000) < 500  # it looks random
    assert sampled(ids, 0).tolist() == []


def test_a_map_begins_from_the_last_one_of_the_same_weights(generation: Path, tmp_path: Path) -> None:
    steps: list[int] = []
    first = add_map(generation, vectors_of(LOGOS), progress=steps.append)
    assert sum(steps) == STEPS
    steps.clear()
    earlier = earlier_map(tmp_path / "logos", weights_digest="w")
    assert earlier is not None
    again = publish(tmp_path / "logos", lambda directory: build(directory, LOGOS, weights_digest="w"))
    second = add_map(again, vectors_of(LOGOS), earlier=earlier, progress=steps.append)
    assert (steps[0], sum(steps)) == (STEPS - STEPS_FROM_EARLIER, STEPS)
    assert np.array_equal(second.logo_ids, first.logo_ids)
    assert np.median(np.linalg.norm(second.positions - first.positions, axis=1)) < 0.1 * SIDE
    assert earlier_map(tmp_path / "logos", weights_digest="others") is None


def test_a_map_of_other_logos_is_not_begun_from(generation: Path) -> None:
    steps: list[int] = []
    others = LogoMap(np.arange(1000, 1060), np.zeros((60, 2), np.int64))
    none = LogoMap(np.zeros(0, np.int64), np.zeros((0, 2), np.int64))
    for earlier in (others, none):
        steps.clear()
        add_map(generation, vectors_of(LOGOS), earlier=earlier, progress=steps.append)
        assert steps == [1] * STEPS


def test_a_damaged_map_is_skipped_when_the_next_one_is_drawn(
    generation: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (generation / MAP_NAME).write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        assert earlier_map(tmp_path / "logos", weights_digest="w") is None
    assert MAP_NAME in caplog.text


def test_a_killed_build_leaves_the_old_map_or_the_new_one(generation: Path) -> None:
    old, new = (LogoMap(np.array([1]), np.array([[place, 0]])) for place in (1, 2))
    write_map(generation, old)
    seen = set()
    for _ in killed_before_each_step(generation.parent, lambda: write_map(generation, new)):
        found = read_map(generation)
        assert found is not None
        seen.add(int(found.positions[0, 0]))
    assert seen == {1, 2}


def content(**changes: Any) -> bytes:
    fields = {"generation": "20261122T030000Z", "logo_ids": [1, 2], "x": [0, 1], "y": [2, 3], **changes}
    return zipped(json.dumps({key: value for key, value in fields.items() if value is not None}).encode())


def zipped(content: bytes) -> bytes:
    """Return a map file without the time of day: it names tests, and all processes must find the same tests."""
    return gzip.compress(content, mtime=0)


GOOD = content()


@pytest.mark.parametrize(
    "spoilt",
    [
        b"",
        b"no gzip",
        GOOD[:-1],
        GOOD[:-9] + bytes([GOOD[-9] ^ 1]) + GOOD[-8:],
        GOOD[:-8] + bytes(8),
        GOOD + b"more",
        GOOD + GOOD,
        zipped(b"no JSON"),
        zipped(b"[]"),
        zipped(bytes(2**27)),
        content(generation="20261121T030000Z"),
        content(x=None),
        content(more=1),
        content(x=[0]),
        content(x=[0, 2**16]),
        content(y=[-1, 0]),
        content(y=[0.5, 0]),
        content(y=[True, 0]),
        content(logo_ids=[0, 1]),
        content(logo_ids=[1, 2**64 - 1]),
        content(logo_ids="12"),
    ],
)
def test_a_damaged_map_is_refused_and_named(tmp_path: Path, spoilt: bytes) -> None:
    generation = tmp_path / "20261122T030000Z"
    generation.mkdir()
    path = generation / MAP_NAME
    path.write_bytes(GOOD)
    assert MapFile.read(generation) is not None
    path.write_bytes(spoilt)
    with pytest.raises(IndexDamagedError, match=str(path)):
        MapFile.read(generation)


def test_what_is_no_file_is_refused_and_what_is_missing_is_no_map(tmp_path: Path) -> None:
    assert MapFile.read(tmp_path) is None
    assert read_map(tmp_path) is None
    assert file_stamp(tmp_path) is None
    (tmp_path / MAP_NAME).mkdir()
    with pytest.raises(IndexDamagedError, match="cannot be read"):
        MapFile.read(tmp_path)


def test_verifying_an_index_looks_at_its_map(generation: Path, tmp_path: Path) -> None:
    add_map(generation, vectors_of(LOGOS))
    assert list(audit(tmp_path, dim=8)) == [(generation, None)]
    (generation / MAP_NAME).write_bytes(GOOD)
    ((_, trouble),) = audit(tmp_path, dim=8)
    assert trouble is not None
    assert "it is the map of 20261122T030000Z" in trouble
