"""Measuring the stages of requests."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from api.journeys.stages import Stage, Stages


class Observed:
    def __init__(self) -> None:
        self.seconds: list[tuple[str, float]] = []
        self.stages = Stages(lambda stage, seconds: self.seconds.append((stage, seconds)))


def test_stage_is_observed_with_its_seconds_even_if_it_fails() -> None:
    observed, began = Observed(), time.perf_counter()
    with pytest.raises(KeyError), observed.stages.measure(Stage.FETCH):
        time.sleep(0.01)
        raise KeyError
    [(stage, seconds)] = observed.seconds
    assert stage == "fetch"
    assert 0.01 <= seconds <= time.perf_counter() - began


def test_stage_that_feeds_another_is_measured_apart() -> None:
    def slow() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.02)
            yield number

    observed, began = Observed(), time.perf_counter()
    with observed.stages.measure_fed(Stage.EMBED, Stage.DECODE, slow()) as numbers:
        assert list(numbers) == [0, 1, 2]
        time.sleep(0.01)
    seconds = dict(observed.seconds)
    assert seconds.keys() == {"decode", "embed"}
    assert seconds["decode"] >= 0.06
    assert seconds["embed"] >= 0.01
    assert sum(seconds.values()) <= time.perf_counter() - began


def test_stage_that_was_fed_nothing_is_not_observed() -> None:
    def broken() -> Iterator[int]:
        raise ValueError("no image")
        yield 1

    observed = Observed()
    with (
        pytest.raises(ValueError, match="no image"),
        observed.stages.measure_fed(Stage.EMBED, Stage.DECODE, broken()) as things,
    ):
        list(things)
    assert [stage for stage, _ in observed.seconds] == ["decode"]
