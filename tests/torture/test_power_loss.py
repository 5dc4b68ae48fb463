"""Power cuts while a store is written, in short: `python -m torture power-loss` tries many more states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from torture.fuzz import clean_processes
from torture.mutants import RECORDED, believing_everything
from torture.power_loss import cut_power, power_loss, record_writer
from torture.power_promises import SCENARIOS, Scenario
from torture.power_states import explore
from torture.recording import compile_recorder
from torture.report import Finding

SEED = 1
BATCHES = 6
STATES = 50  # of each writer: all mutants show within 43


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_recorder(tmp_path_factory.mktemp("recorder"))


def scenario_of(writer: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.writer == writer)


@pytest.fixture(scope="module")
def cut(recorder: Path) -> Iterator[Callable[..., Finding]]:
    """Cuts the power in a process that holds little: the judges fork, which takes this one three times as long."""
    with clean_processes() as pool:

        def cut_there(writer: str, states: int, **options: Any) -> Finding:
            scenario = scenario_of(writer)
            return pool.submit(
                cut_power, recorder, scenario, states=states, seed=SEED, batches=BATCHES, **options
            ).result()

        yield cut_there


@pytest.mark.parametrize("writer", [scenario.writer for scenario in SCENARIOS])
def test_a_power_cut_loses_nothing(cut: Callable[..., Finding], writer: str) -> None:
    finding = cut(writer, STATES)
    assert finding.losses == []
    assert finding.tried >= STATES


@pytest.mark.parametrize("name", [name for name, mutant in RECORDED.items() if not mutant.why_harmless])
def test_a_store_that_breaks_a_rule_is_seen_to_lose(cut: Callable[..., Finding], name: str) -> None:
    assert cut(RECORDED[name].writer, STATES, mutant=name).losses


@pytest.mark.parametrize("name", [name for name, mutant in RECORDED.items() if mutant.why_harmless])
def test_a_step_that_another_makes_up_for_may_be_left_out(cut: Callable[..., Finding], name: str) -> None:
    assert cut(RECORDED[name].writer, STATES, mutant=name).losses == []


def test_a_reader_that_believes_everything_is_seen_to_serve_garbage(recorder: Path) -> None:
    scenario = scenario_of("append")
    written = record_writer(recorder, scenario, seed=SEED, batches=BATCHES)
    with believing_everything():
        explored = explore(scenario, written, states=STATES, seed=SEED, until_lost=True)
    assert "served a wrong embedding" in explored.losses[0]
    assert "one sector spoilt" in explored.losses[0]


def test_the_same_seed_tries_the_same_states_and_another_seed_others(recorder: Path) -> None:
    scenario = scenario_of("create")
    written = record_writer(recorder, scenario, seed=SEED, batches=BATCHES)
    once, again, other = (explore(scenario, written, states=30, seed=seed) for seed in (1, 1, 2))
    assert once.disks == again.disks != other.disks


def test_shares_of_the_work_are_all_of_it(recorder: Path) -> None:
    shared = cut_power(recorder, scenario_of("create"), states=60, seed=SEED, batches=BATCHES, processes=2)
    assert 40 < shared.tried <= 60  # the same state may turn up in both


def test_the_command_prints_a_row_for_each_writer() -> None:
    result = CliRunner().invoke(
        power_loss, ["--states", "20", "--only", "create", "--processes", "1", "--batches", "1"]
    )
    assert result.exit_code == 0
    assert "| power cut while a store is made | 20 states of the disk | 0 |" in result.output


def test_the_command_fails_if_anything_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Finding("power cut", 1, "states of the disk", ["lost [7]"])
    monkeypatch.setattr("torture.power_loss.cut_power", lambda *_, **__: found)
    result = CliRunner().invoke(power_loss, ["--states", "20", "--only", "create"])
    assert result.exit_code == 1
    assert "lost [7]" in result.output
