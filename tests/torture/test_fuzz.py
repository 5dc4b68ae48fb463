"""Hostile files do no harm, and the fuzzers notice what does."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from torture.fuzz import KINDS, clean_processes, fuzz, fuzz_images
from torture.fuzz_child import Limits, try_in_children
from torture.fuzz_mutation import mutate, near_content
from torture.report import Finding

LIMITS = Limits(seconds=1, memory=100 * 2**20)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with clean_processes(2) as processes:
        yield processes


@pytest.mark.parametrize(("kind", "files"), [("store", 100), ("images", 900), ("index", 240)])
def test_hostile_files_do_no_harm(processes: ProcessPoolExecutor, kind: str, files: int) -> None:
    parts = [processes.submit(fuzz, kind, files // 2, seed) for seed in (1, 2)]
    findings = [finding for part in parts for finding in part.result()]
    assert [loss for finding in findings for loss in finding.losses] == []
    assert sum(finding.tried for finding in findings) == files


def greedy() -> list[str]:
    return [f"{len(bytearray(200 * 2**20))} bytes are no error in themselves"][1:]


def hanging() -> list[str]:
    while True:
        pass


def crashing() -> list[str]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return []


def leaving() -> list[str]:
    os._exit(0)


def raising() -> list[str]:
    raise OverflowError("too\nlarge")


def lying() -> list[str]:
    return ["a wrong embedding was served"]


def harmless() -> list[str]:
    return []


TRIALS: dict[Callable[[], list[str]], list[str]] = {
    harmless: [],
    greedy: ["took 200 MiB"],
    crashing: ["died of SIGSEGV"],
    raising: ["raised OverflowError: too large"],
    hanging: ["hung: more than 1 s of the processor"],
    lying: ["a wrong embedding was served"],
    leaving: ["ended the process with status 0"],
}


def try_all() -> list[tuple[str, list[str]]]:
    trials = [*TRIALS, harmless]
    return [(trial.__name__, wrong) for trial, wrong in try_in_children(trials, lambda trial: trial(), LIMITS)]


def test_harm_is_reported_and_the_next_file_is_still_tried(processes: ProcessPoolExecutor) -> None:
    expected = [(trial.__name__, wrong) for trial, wrong in TRIALS.items()] + [("harmless", [])]
    assert processes.submit(try_all).result() == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_and_a_number_give_the_same_file_again(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").mkdir()
    samples = KINDS[kind](tmp_path / "a")
    for number, sample in enumerate(samples.samples):
        cases = [samples.spoil(number, sample, random.Random(f"3-{number}")) for _ in range(2)]
        assert cases[0] == cases[1]
        assert cases[0] != samples.spoil(number, sample, random.Random(f"4-{number}"))


def test_nearly_every_change_changes_something() -> None:
    content = bytes(range(1, 200)) + bytes(300) + bytes(range(1, 100))
    changed = [mutate(content, near_content(content), random.Random(seed))[0] for seed in range(300)]
    assert sum(spoilt != content for spoilt in changed) > 250
    assert {0, 1} < {len(spoilt) - len(content) for spoilt in changed if len(spoilt) >= len(content)}
    assert any(len(spoilt) < len(content) for spoilt in changed)


def test_what_lies_far_from_content_is_no_spot() -> None:
    assert near_content(b"\0\0\1\0\0\0\0\2", margin=2) == [2, 3, 4, 7]


def test_the_command_prints_the_table_and_the_seed_of_every_loss(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def spoilt(kind: str, files: int, seed: int, **options: object) -> list[Finding]:
        return [Finding(kind, files, "files", [f"seed {seed}, file {options['first']}"])]

    monkeypatch.setattr("torture.fuzz.fuzz", spoilt)
    result = CliRunner().invoke(fuzz_images, ["--number", "7", "--seed", "3", "--keep", str(tmp_path)])
    assert result.exit_code == 1
    assert "| images | 1 files | 1 |" in result.output
    assert "seed 3, file 7" in result.output
