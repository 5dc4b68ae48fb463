from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from index.annoy.engine import AnnoySearchIndex
from index.errors import BuildInProgressError
from index.files.build_lock import build_lock
from index.files.generations import current_generation, list_generations, publish
from index.files.manifest import Manifest
from tests.index.samples import build, killed_before_each_step, some_logos
from tests.waiting import PATIENCE


def ten_logos(directory: Path) -> Manifest:
    return build(directory, some_logos(10))


def visible(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_published_generation_is_the_current_one(tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)

    generation = publish(tmp_path / "logos", ten_logos)

    assert current_generation(tmp_path / "logos") == generation
    assert (tmp_path / "logos" / "current").readlink() == Path("generations", generation.name)
    assert visible(generation) == ["index.bin", "index.json", "index.txt"]
    assert visible(tmp_path / "logos") == [".generate.lock", "current", "generations"]
    assert generation.stat().st_mode & 0o777 == 0o755
    assert before <= datetime.strptime(generation.name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert len(AnnoySearchIndex.load(tmp_path / "logos" / "current", dim=8, digests=True)) == 10


def test_generations_of_the_same_second_sort_as_they_were_made(tmp_path: Path) -> None:
    published = [publish(tmp_path, ten_logos, keep=10) for _ in range(5)]

    assert list_generations(tmp_path) == published
    assert current_generation(tmp_path) == published[-1]


def test_a_clock_that_was_set_back_does_not_disturb_the_order(tmp_path: Path) -> None:
    ten_logos(tmp_path / "generations" / "29990101T000000Z")

    published = publish(tmp_path, ten_logos)

    assert published.name == "29990101T000000Z-002"
    assert list_generations(tmp_path)[-1] == published


def test_after_the_last_name_of_a_second_comes_the_next_second(tmp_path: Path) -> None:
    """With a clock that is years behind, every build's name uses the same second."""
    ten_logos(tmp_path / "generations" / "29991231T235959Z-998")

    published = [publish(tmp_path, ten_logos, keep=10) for _ in range(3)]

    assert [path.name for path in published] == ["29991231T235959Z-999", "30000101T000000Z", "30000101T000000Z-002"]
    assert list_generations(tmp_path)[1:] == published


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_generations_are_kept(tmp_path: Path, keep: int) -> None:
    published = [publish(tmp_path, ten_logos, keep=keep) for _ in range(4)]

    assert list_generations(tmp_path) == published[-keep:]
    assert visible(tmp_path / "generations") == [path.name for path in published[-keep:]]


def test_the_generation_before_stays_whole(tmp_path: Path) -> None:
    first = publish(tmp_path, ten_logos)
    publish(tmp_path, ten_logos)

    assert len(AnnoySearchIndex.load(first, dim=8, digests=True)) == 10


def test_an_index_that_was_never_published_has_no_generations(tmp_path: Path) -> None:
    (tmp_path / "generations" / "notes").mkdir(parents=True)

    assert list_generations(tmp_path) == []
    assert list_generations(tmp_path / "missing") == []
    assert current_generation(tmp_path) is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_build_that_fails_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    generation = publish(tmp_path, ten_logos)

    def fail(directory: Path) -> Manifest:
        (directory / "index.bin").write_bytes(b"half")
        raise error

    with pytest.raises(error):
        publish(tmp_path, fail)

    assert current_generation(tmp_path) == generation
    assert visible(tmp_path / "generations") == [generation.name]


def test_what_killed_builds_left_is_removed(tmp_path: Path) -> None:
    for left_over in (".building-abc", ".removing-20250101T000000Z"):
        (tmp_path / "generations" / left_over).mkdir(parents=True)
        (tmp_path / "generations" / left_over / "index.bin").touch()
    (tmp_path / ".current.new").symlink_to("generations/gone")

    generation = publish(tmp_path, ten_logos)

    assert visible(tmp_path) == [".generate.lock", "current", "generations"]
    assert visible(tmp_path / "generations") == [generation.name]


def test_a_second_build_can_refuse_to_wait(tmp_path: Path) -> None:
    with (
        build_lock(tmp_path / ".generate.lock", wait=False),
        pytest.raises(BuildInProgressError, match="another build"),
    ):
        publish(tmp_path, ten_logos, wait=False)


def test_a_second_build_waits_for_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    building, go_on = threading.Event(), threading.Event()

    def slow(directory: Path) -> Manifest:
        building.set()
        assert go_on.wait(PATIENCE)
        return ten_logos(directory)

    first = threading.Thread(target=publish, args=(tmp_path, slow))
    first.start()
    assert building.wait(PATIENCE)
    second = threading.Thread(target=publish, args=(tmp_path, ten_logos))
    second.start()
    while "waiting until it is done" not in caplog.text:
        assert second.is_alive()
        time.sleep(0.01)
    assert list_generations(tmp_path) == []
    go_on.set()
    first.join()
    second.join()

    assert len(list_generations(tmp_path)) == 2
    assert visible(tmp_path / "generations") == [path.name for path in list_generations(tmp_path)]


def test_a_kill_at_any_step_leaves_the_current_generation_whole(tmp_path: Path) -> None:
    index_dir = tmp_path / "logos"
    _, old = publish(index_dir, ten_logos), publish(index_dir, ten_logos)
    seen = []

    for _ in killed_before_each_step(index_dir, lambda: publish(index_dir, ten_logos)):
        current = current_generation(index_dir)
        assert current in list_generations(index_dir)
        for generation in list_generations(index_dir):
            assert len(AnnoySearchIndex.load(generation, dim=8, digests=True)) == 10
        seen.append("old" if current == old else "new")

        publish(index_dir, ten_logos)  # removes what the kill left
        assert len(visible(index_dir / "generations")) == 2
        assert visible(index_dir) == [".generate.lock", "current", "generations"]

    assert list(dict.fromkeys(seen)) == ["old", "new"]
    assert seen.count("old") > 10
