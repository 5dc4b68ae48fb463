"""Real processes killed with SIGKILL at random moments, by the ten thousand: what was acknowledged must be there.

A SIGKILL loses nothing in the kernel's cache, so missing syncs are found by the power cuts, not here. The same seed
gives the same operations and the same order of kills, though not to the microsecond.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from torture.kill_children import MOMENTS, Moment
from torture.kill_copies import BackingUp, Repairing, Restoring
from torture.kill_holders import Holding
from torture.kill_replacers import Replacing
from torture.kill_rounds import kill_children
from torture.kill_starts import Creating, Migrating
from torture.kill_writers import Growing, Rewriting, Stage
from torture.report import HEADER, Finding

STAGES: dict[str, type[Stage]] = {
    stage.name: stage
    for stage in (Stage, Replacing, Holding, Creating, Migrating, Growing, Rewriting, BackingUp, Restoring, Repairing)
}
_PART = 1000  # kills under one seed


@dataclass(frozen=True, slots=True)
class Killed:
    """The finding of some kills, and what they interrupted."""

    finding: Finding
    moments: Counter[Moment]

    def row(self) -> str:
        """Return how many kills interrupted what, in Markdown."""
        met = dict.fromkeys((*MOMENTS, "asked", "held"), 0)
        for (doing, asked, held), count in self.moments.items():
            met[doing] += count
            met["asked"] += count * asked
            met["held"] += count * held
        return f"| {self.finding.test} | {' | '.join(f'{count:,}' for count in met.values())} |"


HEADER_OF_MOMENTS = (
    f"| interrupted | {' | '.join(MOMENTS)} | in an operation | holding the lock |\n|{'---|' * (len(MOMENTS) + 3)}"
)


def kill(
    name: str,
    kills: int,
    seed: int,
    directory: Path | None = None,
    sabotage: Callable[[], None] = lambda: None,
    *,
    to_the_first_loss: bool = False,
) -> Killed:
    """Kill children of a stage; the arguments are those of `kill_children`. Call this in `clean_processes`."""
    begun = time.perf_counter()
    moments, losses = kill_children(STAGES[name], kills, seed, directory, sabotage, to_the_first_loss=to_the_first_loss)
    seconds = time.perf_counter() - begun
    return Killed(Finding(f"killed: {name}", moments.total(), "kills", losses, seconds), moments)


def clean_processes(jobs: int = 1) -> ProcessPoolExecutor:
    """Return an executor whose processes have one thread each, so that they may fork."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(jobs, mp_context=context)


@click.command()
@click.option("--kills", "wanted", type=click.IntRange(1), default=80_000, show_default=True, help="In all stages.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A directory for the stores.",
)
@click.option("--only", multiple=True, type=click.Choice(list(STAGES)), help="A stage to run; may be repeated.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Stores at a time.")
def kills(wanted: int, seed: int, directory: Path | None, only: tuple[str, ...], jobs: int) -> None:
    """Kill processes that write, with SIGKILL."""
    names = only or tuple(STAGES)
    shares = sum(STAGES[name].share for name in names)
    found: list[Killed] = []
    with clean_processes(jobs) as processes:
        parts = {
            name: [
                processes.submit(kill, name, min(_PART, of_name - before), seed + before // _PART, directory)
                for before in range(0, of_name, _PART)
            ]
            for name in names
            if (of_name := -(-wanted * STAGES[name].share // shares))
        }
        for of_stage in parts.values():
            found.append(_together([part.result() for part in of_stage]))
            click.echo(f"{found[-1].finding.row()} {found[-1].finding.seconds:.0f} s", err=True)
    losses = [loss for killed in found for loss in killed.finding.losses]
    click.echo("\n".join([HEADER, *(killed.finding.row() for killed in found), ""]))
    click.echo("\n".join([HEADER_OF_MOMENTS, *(killed.row() for killed in found), "", *losses]))
    sys.exit(bool(losses))


def _together(parts: list[Killed]) -> Killed:
    findings = [part.finding for part in parts]
    finding = Finding(
        findings[0].test,
        sum(part.tried for part in findings),
        findings[0].unit,
        [loss for part in findings for loss in part.losses],
        sum(part.seconds for part in findings),
    )
    return Killed(finding, sum((part.moments for part in parts), Counter[Moment]()))
