"""The measure, compared with small cases computed by hand, and with all possible draws."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.retrieval_protocol import METRICS, Metric, Scores, chance_at_4, knn_accuracy, nearest, recall_at_4


def on_a_line(*places: float) -> NDArray[np.float32]:
    return np.array(places, np.float32)[:, np.newaxis]


def each_on_its_own(labels: str) -> list[int]:
    return list(range(len(labels)))


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_vectors_find_all(metric: Metric) -> None:
    labels = list("ABCDE" * 7)
    vectors = np.eye(5, dtype=np.float32)[[ord(label) - ord("A") for label in labels]]
    scores = recall_at_4(vectors, labels, range(35), metric=metric)
    assert scores.values.shape == (20, 35)
    assert (scores.values == 1).all()
    assert scores.micro == scores.macro == (1, 0)
    assert knn_accuracy(vectors, labels, range(35), metric=metric).micro == (1, 0)


@pytest.mark.parametrize("metric", METRICS)
def test_vectors_that_say_nothing_find_what_chance_finds(metric: Metric) -> None:
    labels, photos = list("AAAAAAABBBBBCCC"), [0, 1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 1, 1, 9]
    scores = recall_at_4(np.ones((15, 3), np.float32), labels, photos, metric=metric)
    np.testing.assert_allclose(scores.by_query, chance_at_4(labels, photos).by_query)


def test_random_vectors_find_about_what_chance_finds() -> None:
    vectors = np.random.default_rng(3).standard_normal((600, 32)).astype(np.float32)  # more than one block
    labels = [row % 30 for row in range(600)]
    chance = chance_at_4(labels, range(600))
    assert chance.micro.mean == pytest.approx(4 / 120)
    assert recall_at_4(vectors, labels, range(600)).micro.mean == pytest.approx(4 / 120, abs=0.01)


def test_chance_is_four_among_the_candidates_of_the_query() -> None:
    labels = "AAAAAAABBBCC"
    photos = [0, 1, 2, 3, 4, 5, 6, 0, 7, 8, 9, 9]
    chance = chance_at_4(list(labels), photos).by_query
    assert chance[0] == pytest.approx(4 / (4 + 2 + 2))  # one B is on its photo
    assert chance[1] == pytest.approx(4 / (4 + 3 + 2))
    assert chance[7] == pytest.approx(4 / (4 + 2 + 2))  # six A are left, of which four count
    assert np.isnan(chance[10])
    assert chance_at_4(list("AB" * 2), range(4)).by_query.tolist() == [1, 1, 1, 1]  # three candidates, all found


def test_logos_of_the_same_photo_are_not_candidates() -> None:
    labels, places = list("AAAABBBBB"), on_a_line(0, 0, 10, 11, 1, 1, 1, 1, 99)
    alone = recall_at_4(places, labels, range(9)).by_query[0]
    shared = recall_at_4(places, labels, [0, 0, 2, 3, 0, 0, 0, 0, 8]).by_query[0]
    assert alone == pytest.approx(1 / 3)  # its twin, then four of B
    assert shared == 1  # of two, for the twin is out as well
    assert nearest(places, [0, 0, 2, 3, 0, 0, 0, 0, 8], 2)[0][0].tolist() == [2, 3]


def test_a_class_gives_four_candidates_at_most() -> None:
    crowd = [1.0] * 9
    assert recall_at_4(on_a_line(0, 5, *crowd), list("AA" + "B" * 9), range(11)).by_query[0] == 0
    assert recall_at_4(on_a_line(0, 5, *crowd[:3]), list("AA" + "B" * 3), range(5)).by_query[0] == 1
    assert recall_at_4(on_a_line(0, *crowd), ["A"] * 10, range(10)).by_query[0] == 1  # of four, not of nine


def test_each_candidate_is_drawn_as_often_as_any_other() -> None:
    labels, photos = list("AAAAAABBBBBB"), [0, 1, 2, 3, 4, 0, 5, 6, 7, 8, 9, 0]
    places = np.random.default_rng(5).random(12)
    measured = recall_at_4(on_a_line(*places), labels, photos, draws=4000)
    expected = [every_draw(row, places, labels, photos) for row in range(12)]
    assert len(set(expected)) > 3
    np.testing.assert_allclose(measured.by_query, expected, atol=0.02)


def every_draw(query: int, places: NDArray[np.float64], labels: list[str], photos: list[int]) -> float:
    """Return the mean recall of one query over all possible draws."""
    pools = [
        [row for row in range(len(labels)) if labels[row] == label and photos[row] != photos[query]]
        for label in sorted(set(labels))
    ]
    recalls = []
    for draw in product(*(combinations(pool, min(4, len(pool))) for pool in pools)):
        drawn = sorted((row for some in draw for row in some), key=lambda row: abs(places[row] - places[query]))
        relevant = [labels[row] == labels[query] for row in drawn]
        recalls.append(sum(relevant[:4]) / sum(relevant))
    return float(np.mean(recalls))


def test_candidates_that_tie_share_the_last_places() -> None:
    scores = recall_at_4(on_a_line(0, 2, 1, 1, 1, -2), list("AABBBB"), range(6))
    assert scores.by_query[0] == 0.5


def test_a_query_whose_class_is_on_no_other_photo_is_left_out_but_stays_a_candidate() -> None:
    scores = recall_at_4(on_a_line(0, 9, 1, 1, 1, 1), list("AABBBB"), [0, 1, 2, 2, 2, 2])
    assert scores.kept.tolist() == [True, True, False, False, False, False]
    assert scores.by_query[:2].tolist() == [0, 0]
    assert scores.by_class == {"A": 0}
    accuracy = knn_accuracy(on_a_line(0, 9, 1, 1, 1, 1), list("AABBBB"), [0, 1, 2, 2, 2, 2])
    assert accuracy.kept.tolist() == scores.kept.tolist()


def test_micro_weighs_queries_and_macro_classes() -> None:
    values = np.array([[1, 1, 1, 0, np.nan, np.nan], [1, 1, 0, 0, np.nan, np.nan]])
    scores = Scores(values, np.array(["A", "B", "C"]), np.array([0, 0, 0, 1, 1, 2]))
    assert scores.micro.mean == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert scores.micro.std == pytest.approx(1 / 8)
    assert scores.macro.mean == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert scores.by_class == pytest.approx({"A": 5 / 6, "B": 0})


def test_a_seed_asks_every_embedding_the_same_questions() -> None:
    rng = np.random.default_rng(1)
    vectors, labels, photos = rng.standard_normal((90, 4)).astype(np.float32), rng.integers(0, 5, 90), range(90)
    first = recall_at_4(vectors, labels, photos, seed=7)
    assert np.array_equal(first.values, recall_at_4(vectors, labels, photos, seed=7).values)
    assert np.array_equal(first.values, recall_at_4(2 * vectors, labels, photos, seed=7).values)
    assert not np.array_equal(first.values, recall_at_4(vectors, labels, photos, seed=8).values)
    assert first.micro.std > 0


def test_length_counts_for_l2_and_not_for_cosine() -> None:
    vectors = np.array([[1, 0], [9, 0], [1, 1], [0, 0]], np.float32)
    rows, distances = nearest(vectors, range(4), 3)
    assert rows[0].tolist() == [2, 3, 1]
    np.testing.assert_allclose(distances[0], [1, 1, 8])
    rows, distances = nearest(vectors, range(4), 3, metric="cosine")
    assert rows[0].tolist() == [1, 2, 3]
    np.testing.assert_allclose(distances[0], [0, 1 - 0.5**0.5, 1])


def test_where_too_few_are_left_the_last_distances_are_infinite() -> None:
    _rows, distances = nearest(on_a_line(0, 1, 5), [0, 0, 1], 9)
    assert distances[0].tolist() == [5, np.inf, np.inf]


@pytest.mark.parametrize(
    ("places", "labels", "k", "right"),
    [
        ((0, 1, 2, 3), "AABB", 10, 1.0),  # 1 against 1/2 + 1/3
        ((0, 1, 1.5, 2), "AABB", 10, 0.0),  # 1 against 2/3 + 1/2
        ((0, 1, 1.5, 2), "AABB", 2, 1.0),
        ((0, 1, 2, 2), "AABB", 3, 0.5),  # 1 against 1/2 + 1/2
        ((0, 0, 0.01, 0.01), "AABB", 3, 1.0),  # nothing outvotes what is identical
        ((0, 0, 0, 0), "AABB", 3, 0.0),  # except more of it
    ],
)
def test_a_label_is_voted_for_by_one_over_the_distance(
    places: tuple[float, ...], labels: str, k: int, right: float
) -> None:
    assert knn_accuracy(on_a_line(*places), list(labels), each_on_its_own(labels), k=k).by_query[0] == right


def test_logos_of_the_same_photo_do_not_vote() -> None:
    places, labels = on_a_line(0, 1, 1, 5, 8), list("ABBAB")
    assert knn_accuracy(places, labels, range(5)).by_query[0] == 0
    assert knn_accuracy(places, labels, [0, 0, 0, 3, 4]).by_query[0] == 1


def test_unmeasurable_input_is_refused() -> None:
    labels = list("AABB")
    with pytest.raises(ValueError, match="one vector per logo"):
        recall_at_4(on_a_line(1, 2, 3), labels, range(4))
    with pytest.raises(ValueError, match="a label and a photo"):
        chance_at_4(labels, range(3))
    with pytest.raises(ValueError, match="not finite"):
        knn_accuracy(on_a_line(1, 2, 3, np.nan), labels, range(4))
    with pytest.raises(ValueError, match="no label is on two photos"):
        recall_at_4(on_a_line(1, 2, 3, 4), labels, [0, 0, 1, 1])
