"""Every row of the bench is measured, at a size that takes seconds; the figures themselves are not tested."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import original
from benchmarks.__main__ import ROWS, main
from benchmarks.cold_start import seconds_to_answer
from benchmarks.embedding import rate
from benchmarks.fixture import Fixture, Scale
from benchmarks.logos import draw_crops, draw_logos
from benchmarks.table import Ratio, Row, interleaved, render

TINY = ["--logos", "300", "--trees", "3", "--stored-logos", "200", "--repetitions", "1", "--seconds", "0.3"]
WITHOUT_TENSORFLOW = [name for name in ROWS if name not in ("embedding", "cold-start", "original")]


def test_every_row_comes_out_with_a_finite_ratio(tmp_path: Path) -> None:
    only = [argument for name in WITHOUT_TENSORFLOW for argument in ("--only", name)]
    output = tmp_path / "table.md"
    ran = CliRunner().invoke(main, [*TINY, *only, "--output", str(output)], catch_exceptions=False)
    assert ran.exit_code == 0
    assert output.read_text() == ran.stdout
    note, empty, head, rule, *rows = ran.stdout.splitlines()
    assert "Python" in note
    assert "`generate-index` took" in note
    assert empty == ""
    assert head == "| what | ours | rival | ratio | to reach | met |"
    assert rule == "|---|---|---|---|---|---|"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert len(cells) == len(WITHOUT_TENSORFLOW) + 3  # query, recall and add have two each
    for _what, _ours, _rival, ratio, reach, met in cells:
        assert math.isfinite(float(ratio))
        assert float(ratio) > 0
        assert reach
        assert met in ("yes", "**no**")
    assert "recall@100" in rows[3]
    assert cells[3][1] == "1.0000"  # three trees over 300 logos are searched whole


def test_the_original_is_measured_beside_the_service(tmp_path: Path) -> None:
    fixture = Fixture(Scale(stored_logos=300, repetitions=1, seconds=0.2), tmp_path, lambda _what: None)
    rows = original.measure(fixture, adds=False)
    assert [row.reach for row in rows] == ["2 ×", "10 ×", "3 ×", "3 ×"]
    assert all(row.ratio.median > 0 for row in rows)


def test_an_unknown_row_is_refused() -> None:
    ran = CliRunner().invoke(main, ["--only", "speed"])
    assert ran.exit_code == 2
    assert "speed" in ran.stderr


def test_a_cold_start_is_timed_until_the_first_answer(tmp_path: Path) -> None:
    fixture = Fixture(Scale(logos=50, trees=2), tmp_path, lambda _what: None)
    assert 0 < seconds_to_answer(fixture) < 60


def test_a_service_that_never_answers_is_an_error(tmp_path: Path) -> None:
    fixture = Fixture(Scale(logos=50, trees=2), tmp_path, lambda _what: None)
    with pytest.raises(ConnectionError):
        seconds_to_answer(fixture, "benchmarks.no_such_app:app")


def test_the_same_seed_draws_the_same_data() -> None:
    first, again, other = (list(draw_logos(30, seed, block=20)) for seed in (1, 1, 2))
    assert [len(ids) for ids, _ in first] == [20, 10]
    for (ids, vectors), (same_ids, same_vectors) in zip(first, again, strict=True):
        assert ids.tolist() == same_ids.tolist()
        assert vectors.tobytes() == same_vectors.tobytes()
    assert first[0][1].tobytes() != other[0][1].tobytes()
    assert len({logo_id for ids, _ in first for logo_id in ids.tolist()}) == 30
    assert draw_crops(2, 1)[1].tobytes() == draw_crops(2, 1)[1].tobytes()


def test_measures_take_turns() -> None:
    order: list[str] = []

    def taken(name: str, figure: float) -> float:
        order.append(name)
        return figure

    figures = interleaved(3, lambda: taken("a", 1), lambda: taken("b", 2))
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert figures == [[1, 1, 1], [2, 2, 2]]


def test_a_ratio_is_the_median_of_those_of_each_repetition() -> None:
    assert str(Ratio.of([10, 30, 20], [10, 10, 10])) == "2 (1 to 3)"
    assert str(Ratio.of([1], [4])) == "0.25"


def test_a_missed_claim_is_shown_as_missed() -> None:
    row = Row("what", "1/s", "2/s, a rival", Ratio.of([1], [2]), "0.8 of it", met=False)
    assert render([row]).splitlines()[2] == "| what | 1/s | 2/s, a rival | 0.5 | 0.8 of it | **no** |"


def test_a_rate_is_of_all_crops() -> None:
    seen: list[object] = []
    assert rate(seen.append, draw_crops(3, 1)) > 0
    assert len(seen) == 3
