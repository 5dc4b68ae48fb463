"""What one build leaves to the next: read only what is new, and never use a row for another vector."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.files.manifest import CODES_NAME, COMPONENTS_NAME, RECORDS_NAME
from index.lists import build as building
from index.lists.kept_rows import ROWS_NAME, STATE_NAME
from index.loading import load_index
from tests.index.lists.samples import DIM, SomeLogos, build, kept, logos_of
from tests.index.samples import Logos


def part(logos: Logos, stop: int) -> SomeLogos:
    return SomeLogos((logos[0][:stop], logos[1][:stop]))


def test_the_next_build_reads_what_is_new(tmp_path: Path) -> None:
    logos = logos_of(2000)
    build(tmp_path / "first", part(logos, 1500), tmp_path / "kept")
    second = part(logos, 2000)
    told: dict[tuple[str, int | None], int] = {}

    @contextmanager
    def stage(doing: str, total: int | None) -> Iterator[Callable[[int], None]]:
        told[doing, total] = 0

        def progress(done: int) -> None:
            told[doing, total] += done

        yield progress

    manifest = build(tmp_path / "second", second, tmp_path / "kept", stage=stage)

    assert second.read == logos[0][1500:].tolist()
    assert told.pop(("measuring recall", None)) > 0
    assert told == {("reading logos", 500): 500, ("coding logos", 2000): 2000}
    assert manifest.items == 2000
    index = load_index(tmp_path / "second", dim=DIM, vectors=kept(logos))
    assert index.nearest_to_logo(int(logos[0][1999]), 3).logo_ids[0] == logos[0][1999]
    assert manifest.recall is not None
    assert manifest.recall.at_10 >= 0.99


def test_a_build_with_kept_rows_has_the_files_of_one_without(tmp_path: Path) -> None:
    logos = logos_of(2000)
    build(tmp_path / "first", part(logos, 1500), tmp_path / "kept")
    build(tmp_path / "second", part(logos, 1500), tmp_path / "kept")
    for name in (RECORDS_NAME, CODES_NAME):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_next_build_keeps_the_effort_that_still_finds_enough(tmp_path: Path) -> None:
    logos = logos_of(2000)
    first = build(tmp_path / "first", part(logos, 1500), tmp_path / "kept")
    assert first.lists is not None
    more = replace(first.lists, effort=replace(first.lists.effort, candidates=1234, spare=77))

    second = build(tmp_path / "second", part(logos, 2000), tmp_path / "kept", last=more)
    fresh = build(tmp_path / "fresh", part(logos, 2000), tmp_path / "kept", last=more, fresh=True)

    assert second.lists is not None
    assert fresh.lists is not None
    assert (second.lists.effort.candidates, second.lists.effort.spare) == (1234, 77)
    assert (fresh.lists.effort.candidates, fresh.lists.effort.spare) != (1234, 77)


def test_deleted_logos_are_left_out_and_changed_ones_read_again(tmp_path: Path) -> None:
    logo_ids, vectors = logos_of(1000)
    build(tmp_path / "first", SomeLogos((logo_ids, vectors)), tmp_path / "kept")
    changed = vectors.copy()
    changed[5] = vectors[6] + 1
    left = np.r_[0:100, 150:1000, 120]  # some are gone, one of these was added again
    again = SomeLogos((logo_ids[left], changed[left]))

    manifest = build(tmp_path / "second", again, tmp_path / "kept")

    assert again.read == [logo_ids[5]]
    assert manifest.items == 951
    listed = np.array((tmp_path / "second" / "index.txt").read_bytes().split(), np.int64)
    assert listed.tolist() == logo_ids[left].tolist()
    index = load_index(tmp_path / "second", dim=DIM, vectors=kept((logo_ids[left], changed[left])), search_k=10_000)
    found = index.nearest_to_vector(changed[5], 2)
    assert found.logo_ids[0] == logo_ids[5]
    assert int(logo_ids[110]) not in index


def test_twice_as_many_logos_get_components_of_their_own(tmp_path: Path) -> None:
    logos = logos_of(2000)
    build(tmp_path / "first", part(logos, 900), tmp_path / "kept")
    second = part(logos, 2000)
    build(tmp_path / "second", second, tmp_path / "kept")
    assert len(second.read) == 2000


def test_rows_of_logos_that_are_gone_do_not_pile_up(tmp_path: Path) -> None:
    logos = logos_of(2000)
    build(tmp_path / "first", part(logos, 2000), tmp_path / "kept")
    second = part(logos, 1000)
    build(tmp_path / "second", second, tmp_path / "kept")
    assert len(second.read) == 1000


def test_a_seed_uses_nothing_of_earlier_builds(tmp_path: Path) -> None:
    logos = logos_of(1500)
    build(tmp_path / "first", part(logos, 1500), tmp_path / "kept", seed=3)
    second = part(logos, 1500)
    build(tmp_path / "second", second, tmp_path / "kept", seed=3)
    assert len(second.read) == 1500
    names = ("index.bin", "index.txt", RECORDS_NAME, COMPONENTS_NAME, CODES_NAME)
    assert all((tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes() for name in names)


def test_a_fresh_build_reads_all(tmp_path: Path) -> None:
    logos = logos_of(500)
    build(tmp_path / "first", part(logos, 500), tmp_path / "kept")
    second = part(logos, 500)
    build(tmp_path / "second", second, tmp_path / "kept", fresh=True)
    assert len(second.read) == 500


def test_rows_of_other_weights_are_not_used(tmp_path: Path) -> None:
    logos = logos_of(500)
    build(tmp_path / "first", part(logos, 500), tmp_path / "kept", weights_digest="a")
    second = part(logos, 500)
    build(tmp_path / "second", second, tmp_path / "kept", weights_digest="b")
    assert len(second.read) == 500


def test_a_killed_build_goes_on_where_it_was_last_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "CHECKPOINT", 700)
    logos = logos_of(3000)
    done = 0

    def kill(read: int) -> None:
        nonlocal done
        done += read
        if done > 2100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "first", part(logos, 3000), tmp_path / "kept", stage=lambda doing, total: nullcontext(kill))
    second = part(logos, 3000)
    manifest = build(tmp_path / "second", second, tmp_path / "kept")

    assert second.read == logos[0][2100:].tolist()
    assert manifest.recall is not None
    assert manifest.recall.queries == 200
    assert manifest.recall.at_10 >= 0.99
    found = load_index(tmp_path / "second", dim=DIM, vectors=kept(logos), search_k=3_000)
    assert sorted(found.nearest_to_vector(logos[1][0], 500).distances)[0] == 0.0


@pytest.mark.parametrize("damage", ["state cut", "state gone", "rows cut", "rows gone", "no archive"])
def test_damaged_rows_are_read_again(tmp_path: Path, damage: str) -> None:
    logos = logos_of(500)
    build(tmp_path / "first", part(logos, 500), tmp_path / "kept")
    state, rows = tmp_path / "kept" / STATE_NAME, tmp_path / "kept" / ROWS_NAME
    if damage == "state cut":
        state.write_bytes(state.read_bytes()[:-200])
    elif damage == "state gone":
        state.unlink()
    elif damage == "rows cut":
        rows.write_bytes(rows.read_bytes()[:-1])
    elif damage == "rows gone":
        rows.unlink()
    else:
        state.write_bytes(b"\x93NUMPY")
    second = part(logos, 500)
    assert build(tmp_path / "second", second, tmp_path / "kept").items == 500
    assert len(second.read) == 500


def test_rows_behind_the_saved_ones_are_cut_off(tmp_path: Path) -> None:
    logos = logos_of(500)
    build(tmp_path / "first", part(logos, 500), tmp_path / "kept")
    with (tmp_path / "kept" / ROWS_NAME).open("ab") as rows:
        rows.write(b"left by a power cut" * 1000)
    second = part(logos, 500)
    build(tmp_path / "second", second, tmp_path / "kept")
    assert second.read == []
    shutil.rmtree(tmp_path / "kept")
