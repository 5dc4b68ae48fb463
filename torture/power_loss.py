"""Cut the power at every moment of what a writer does, on the disk of `disk_model.py`.

A writer really runs, once, and is recorded. Each state of the disk after each prefix of its record is then created in a
directory, and judged with the real store: it must open, hold whole everything that was acknowledged, and accept writes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import click

from torture.disk_model import Operation
from torture.power_promises import SCENARIOS, Scenario
from torture.power_states import explore
from torture.power_writer import ACKNOWLEDGEMENTS
from torture.recording import compile_recorder, operations, record
from torture.report import HEADER, Finding

_SHOWN = 20  # losses that the command prints


def record_writer(
    recorder: Path, scenario: Scenario, *, seed: int, batches: int, mutant: str = ""
) -> list[Operation | bytes]:
    """Run the writer of a scenario, or a mutant of it, and return its record, with its acknowledgements in between.

    Raises:
        RuntimeError: it cannot be recorded; the message says why.
    """
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root"
        root.mkdir()
        writer = (sys.executable, "-m", "torture.power_writers", scenario.writer)
        command = [*writer, str(root.resolve()), str(seed), str(batches), mutant]
        with mock.patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parents[1])):
            calls = record(recorder, root, root.with_name("log"), command)
    return [
        call.content if call.path == ACKNOWLEDGEMENTS else operation
        for call, operation in zip(calls, operations(calls), strict=True)
        if (call.path, call.kind) != (ACKNOWLEDGEMENTS, "create")
    ]


def cut_power(
    recorder: Path, scenario: Scenario, *, states: int, seed: int, batches: int, processes: int = 1, mutant: str = ""
) -> Finding:
    """Record a writer and judge its disks.

    Args:
        recorder: the compiled recorder.
        scenario: what to cut.
        states: number of different states of the disk to judge, if there are that many.
        seed: determines the batches of the writer, and what survives.
        batches: how much the writer writes.
        processes: number of processes that share the work.
        mutant: the name of a store that is broken where it writes; exploring stops at its first loss.
    """
    start = time.monotonic()
    written = record_writer(recorder, scenario, seed=seed, batches=batches, mutant=mutant)
    part = partial(explore, scenario, written, states=-(-states // processes), seed=seed, until_lost=bool(mutant))
    if processes == 1:
        found = [part()]
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            shares = [pool.submit(part, share=(number, processes)) for number in range(processes)]
            found = [share.result() for share in shares]
    return Finding(
        f"power cut {scenario.test}",
        len(set().union(*(explored.disks for explored in found))),
        "states of the disk",
        [
            f"{scenario.writer}, seed {seed}, {batches} batches: {loss}"
            for explored in found
            for loss in explored.losses
        ],
        time.monotonic() - start,
    )


@click.command("power-loss")
@click.option(
    "--states", default=30_000, show_default=True, help="Number of states of the disk to judge, for all writers."
)
@click.option("--seed", default=1, show_default=True, help="Determines the batches, and what survives.")
@click.option("--batches", default=30, show_default=True, help="How much each writer writes.")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True, help="Processes that share the work.")
@click.option("--only", help="One writer, by its name in `power_writers.py`.")
def power_loss(states: int, seed: int, batches: int, processes: int, only: str | None) -> None:
    """Cut the power at each moment of what writers do to a store."""
    click.echo(HEADER)
    lost: list[str] = []
    scenarios = [scenario for scenario in SCENARIOS if only in (None, scenario.writer)]
    with tempfile.TemporaryDirectory() as directory:
        recorder = compile_recorder(Path(directory))
        for done, scenario in enumerate(scenarios):
            share = states // (len(scenarios) - done)
            finding = cut_power(recorder, scenario, states=share, seed=seed, batches=batches, processes=processes)
            states = max(0, states - finding.tried)
            lost += finding.losses
            click.echo(finding.row())
    for loss in lost[:_SHOWN]:
        click.echo(loss)
    if lost:
        raise SystemExit(1)
