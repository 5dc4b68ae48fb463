"""Drawn logos against the statistics that they are drawn from, and those against vectors that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.likeness import describe, local_dimension, main
from benchmarks.logo_statistics import COMPONENTS, STATISTICS, LogoStatistics
from benchmarks.logos import DIM, LogoSource, class_sizes, draw_logos
from benchmarks.results import read

DRAWN = np.concatenate([vectors for _, vectors in draw_logos(4000, 1)])


@pytest.fixture(scope="module")
def statistics() -> LogoStatistics:
    return LogoStatistics.load()


def test_the_statistics_are_few_bytes() -> None:
    assert STATISTICS.stat().st_size < 1_500_000


def test_drawn_logos_have_the_mean_and_the_length_of_embedded_ones(statistics: LogoStatistics) -> None:
    assert DRAWN.shape == (4000, DIM)
    assert DRAWN.dtype == np.float32
    np.testing.assert_allclose(DRAWN.mean(axis=0), statistics.mean, atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(DRAWN, axis=1), 1, rtol=1e-5)


def test_what_the_basis_leaves_has_the_measured_size(statistics: LogoStatistics) -> None:
    differences = DRAWN - statistics.mean
    left = differences - (differences @ statistics.basis.T) @ statistics.basis
    measured = (statistics.rest_of_class**2 + statistics.rest_of_photo**2).sum()
    assert (left**2).sum(axis=1).mean() == pytest.approx(measured, rel=0.1)


def test_logos_of_a_class_are_near_each_other(statistics: LogoStatistics) -> None:
    source = LogoSource(1000, 3, statistics)
    vectors = source.draw(slice(0, 1000))
    same = source.class_of[:, np.newaxis] == source.class_of
    np.fill_diagonal(same, False)
    rows, others = np.nonzero(same)
    apart = np.linalg.norm(vectors[rows] - vectors[others], axis=1)
    any_two = np.linalg.norm(vectors[:500] - vectors[500:], axis=1)
    assert np.median(apart) < 0.8 * np.median(any_two)


def test_as_many_logos_are_in_classes_of_each_size() -> None:
    sizes = class_sizes(7000, 64)
    assert sorted(set(sizes.tolist())) == [1, 2, 4, 8, 16, 32, 64]
    of_each = [int(sizes[sizes == size].sum()) for size in (1, 2, 4, 8, 16, 32, 64)]
    assert all(1000 <= logos < 1064 for logos in of_each)


def test_statistics_of_known_vectors_come_out_and_survive_their_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    dim, classes, views = COMPONENTS + 44, 50, 20
    scale = np.linspace(3, 0.2, dim, dtype=np.float32)
    centres = 5 + scale * rng.standard_normal((classes, dim), np.float32)
    labels = np.repeat(np.arange(classes), views)
    vectors = centres[labels] + 0.5 * scale * rng.standard_normal((len(labels), dim), np.float32)
    measured = LogoStatistics.measure(vectors, labels)
    assert measured.centres.shape == (classes, COMPONENTS)
    assert measured.residuals.shape == (classes * views, COMPONENTS)
    assert (measured.spreads**2).mean() == pytest.approx(1, abs=0.01)
    within, between = (measured.residuals**2).sum(axis=1).mean(), (measured.centres**2).sum(axis=1).mean()
    assert within / between == pytest.approx(0.25, rel=0.1)
    measured.save(tmp_path / "statistics.npz")
    loaded = LogoStatistics.load(tmp_path / "statistics.npz")
    np.testing.assert_allclose(loaded.mean, measured.mean, rtol=1e-3)
    np.testing.assert_allclose(loaded.centres, measured.centres, atol=0.02 * np.abs(measured.centres).max())
    np.testing.assert_allclose(loaded.basis @ loaded.basis.T, np.eye(COMPONENTS), atol=0.02)


def test_too_few_vectors_or_views_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        LogoStatistics.measure(np.zeros((10, 300), np.float32), np.zeros(10))
    with pytest.raises(ValueError, match="no class has"):
        LogoStatistics.measure(np.zeros((300, 300), np.float32), np.arange(300))


@pytest.mark.parametrize("dim", [2, 8])
def test_the_local_dimension_of_a_ball_is_its_dimension(dim: int) -> None:
    rng = np.random.default_rng(4)
    radii = np.sort(rng.random((500, 1000)) ** (1 / dim), axis=1)[:, :100]
    assert np.median(local_dimension(radii.astype(np.float32))) == pytest.approx(dim, rel=0.1)


def test_vectors_are_described_in_figures() -> None:
    described = describe(DRAWN[:1000])
    first, _, last = described["variance in the first components"].values()
    assert 0 < first < last < 1
    assert described["distance of neighbour 1"][1] < described["distance of neighbour 100"][1]
    assert described["local intrinsic dimension"][1] > 1


def test_real_logos_are_compared_with_as_many_drawn_ones(tmp_path: Path) -> None:
    np.savez(tmp_path / "embeddings.npz", vectors=DRAWN[:400], classes=np.zeros(400))
    output = tmp_path / "likeness.jsonl"
    arguments = [str(tmp_path / "embeddings.npz"), "--output", str(output)]
    assert CliRunner().invoke(main, arguments, catch_exceptions=False).exit_code == 0
    real, drawn = read(output)
    assert (real["data"], drawn["data"]) == ("real", "drawn")
    assert real["logos"] == drawn["logos"] == 400
    assert real.keys() == drawn.keys()
