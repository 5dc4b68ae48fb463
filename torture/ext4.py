"""Power cuts of a real ext4, with real processes writing: what they were promised is there after the next mount.

`python -m torture ext4 --cuts 2000`, as root. `ext4_image.py` says what a cut is, `ext4_writers.py` who writes,
`ext4_round.py` when it is cut. A promise counts if it was read before the cut began; one that was asked for after the
cut, and given, is a loss by itself. What this cannot show is a disk that writes in another order than it was told (see
`power_loss.py`).
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click

from commands.shell import progress
from torture.ext4_image import MountError
from torture.ext4_round import Bench
from torture.ext4_writers import SABOTAGE
from torture.report import HEADER, Finding

CUTS_A_STORE = 25  # then a new file system, with a new store, is made
_SHOWN = 300  # characters of a loss, which may name thousands of logos


def run(
    directory: Path,
    *,
    cuts: int,
    seed: int,
    copies: float = 0.3,
    sabotage: str = "",
    options: str = "",
    cut: Callable[[int], None] = lambda cuts: None,
) -> list[Finding]:
    """Cut a file system off, again and again, while it is written to.

    Args:
        directory: an empty one, for the images.
        cuts: how often.
        seed: everything random but the moments follows from it.
        copies: in how many of the rounds the device is copied beneath frozen writers before the file system is stopped.
        sabotage: a name of `SABOTAGE`: breaks the store, so that this must find something.
        options: for `mount -o`.
        cut: called with the number of cuts just made.

    Raises:
        MountError: this cannot be done here.
    """
    dice = random.Random(seed)
    losses: dict[str, list[str]] = {"stopped": [], "copied": []}
    done: Counter[str] = Counter()
    told: Counter[str] = Counter()
    seconds = {"stopped": 0.0, "copied": 0.0}
    while done.total() < cuts:
        with Bench(directory, dice, sabotage=sabotage, options=options) as bench:
            stop = min(cuts, done.total() + CUTS_A_STORE)
            while done.total() < stop and not bench.worn:
                began = time.monotonic()
                for kind, lost in bench.round(copied=stop - done.total() > 1 and dice.random() < copies):
                    done[kind] += 1
                    losses[kind] += [f"cut {done.total()} of seed {seed}, {kind}: {loss[:_SHOWN]}" for loss in lost]
                    seconds[kind] += time.monotonic() - began
                    began = time.monotonic()
                    cut(1)
            told += bench.promises.told
    del told["asks"]
    acknowledged = ", ".join(f"{count:,} times {what}" for what, count in sorted(told.items()))
    name = f"ext4 ({options})" if options else "ext4"
    return [
        Finding(
            f"{name}, its journal stopped ({acknowledged})",
            done["stopped"],
            "cuts",
            losses["stopped"],
            seconds["stopped"],
        ),
        Finding(f"{name}, its device copied", done["copied"], "cuts", losses["copied"], seconds["copied"]),
    ]


@click.command()
@click.option("--cuts", default=2000, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--copies", default=0.3, show_default=True, help="Rounds in which the device is copied, too.")
@click.option("--options", default="", help="For mount -o. [default: the kernel's own]")
@click.option("--sabotage", type=click.Choice([*SABOTAGE]), default="", help="Break the store: there must be losses.")
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), help="For the images. [default: a new one]"
)
def ext4(cuts: int, seed: int, copies: float, options: str, sabotage: str, directory: Path | None) -> None:
    """Cut the power of a real ext4 while processes write (needs root)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that nothing stays mounted
    with tempfile.TemporaryDirectory(dir=directory) as place:
        try:
            with progress("cutting", cuts) as advance:
                findings = run(
                    Path(place),
                    cuts=cuts,
                    seed=seed,
                    copies=copies,
                    options=options,
                    sabotage=sabotage,
                    cut=advance,
                )
        except MountError as error:
            raise click.ClickException(str(error)) from error
    click.echo("\n".join([HEADER, *(finding.row() for finding in findings)]))
    for loss in (loss for finding in findings for loss in finding.losses):
        click.echo(loss, err=True)
    sys.exit(any(finding.losses for finding in findings))
