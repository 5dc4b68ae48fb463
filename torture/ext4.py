"""Power cuts of a real ext4 under the writers of `torture kills`: what was acknowledged is there after the next mount.

Run `python -m torture ext4 --cuts 1000` as root. `ext4_image.py` defines a cut. An acknowledgement counts if it arrived
before the cut began: during the cut, the kernel itself may report a sync that it then drops (seen in 2 of 170 cuts).
The processes live on for a moment in which every sync fails, so later requests must not be acknowledged. This cannot
show a disk that writes in another order than it was told (see `power_loss.py`).
"""

from __future__ import annotations

import gc
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from durable import sync_directory
from embeddings.errors import StoreError
from torture.ext4_image import Ext4Image, MountError
from torture.kill_children import ANSWERS, Child, Herd, Record, Tell, Work
from torture.kill_copies import BackingUp
from torture.kill_rounds import kill_children
from torture.kill_starts import Creating
from torture.kill_writers import Growing, Rewriting, Stage
from torture.kills import clean_processes
from torture.report import HEADER, Finding

STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (Stage, Creating, Growing, Rewriting, BackingUp)}
"""The stages whose own files need no sync: the others damage a store, or write one of the original, without syncs."""


def cut(
    name: str, cuts: int, seed: int, directory: Path, options: str = "", sabotage: Callable[[], None] = lambda: None
) -> Finding:
    """Cut off a new file system repeatedly while a stage writes to it. Call this in `clean_processes`.

    Args:
        name: of the stage.
        cuts: number of cuts.
        seed: determines all random choices except the moments.
        directory: an existing one, for the image.
        options: for `mount -o`.
        sabotage: as for `kill_children`, which stops at the first loss.

    Raises:
        MountError: this is impossible here.
    """
    begun = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(dir=directory) as place,
        Ext4Image.new(Path(place) / "ext4.img", Path(place) / "mnt", options) as image,
    ):
        stage = _on(image, STAGES[name])
        _, losses = kill_children(stage, cuts * stage.children, seed, image.place, sabotage, to_the_first_loss=True)
    test = f"ext4 ({options}) cut: {name}" if options else f"ext4 cut: {name}"
    return Finding(test, cuts, "cuts", losses, time.perf_counter() - begun)


def _on(image: Ext4Image, stage: type[Stage]) -> type[Stage]:
    """Return a stage on a file system that is cut off at the first kill of each round."""

    class Cut(stage):  # type: ignore[misc, valid-type]
        def begin(self) -> None:
            sync_directory(self.home.parent)
            self.is_cut = False
            self.late: Counter[int] = Counter()  # acknowledgements after the cut, by writer
            super().begin()

        def works(self) -> list[Work]:
            return [partial(_until_refused, work) for work in super().works()]

        def kill(self, herd: Herd, child: Child, at: float) -> None:
            if not self.is_cut:
                time.sleep(max(0, at - time.monotonic()))
                self.listen(herd)
                image.cut()
                self.is_cut = True
                self.listen(herd)
                self.late.clear()
            super().kill(herd, child, at)

        def listen(self, herd: Herd, seconds: float = 0) -> list[Record]:
            told = [*herd.told(seconds)]
            answers = [record.writer for record in told if record.what in ANSWERS]
            for record in told:
                if not (self.is_cut and record.what in ANSWERS):
                    self.note(record)
            (self.late if self.is_cut else self.answered).update(answers)
            return told

        def judge(self) -> list[str]:
            # The first may answer a request from before the cut.
            wrong = [f"acknowledged after the cut: {count - 1}" for count in self.late.values() if count > 1]
            gc.collect()  # a store that the last round left open would keep the file system busy
            image.unmount()
            image.mount()
            self.is_cut = False
            self.late.clear()
            losses: list[str] = super().judge()
            return wrong + losses

        def strangers(self, *_: str) -> list[str]:
            return []  # the removal of a draft is not synced

    return Cut


def _until_refused(work: Work, tell: Tell) -> None:
    """Work until the store refuses; any end other than the store's own error is a loss."""
    try:
        work(tell)
    except StoreError:
        signal.pause()


@click.command()
@click.option("--cuts", default=1000, show_default=True, help="In all stages together.")
@click.option("--seed", default=1, show_default=True)
@click.option("--options", default="", help="For mount -o. [default: the kernel's own]")
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), help="For the images. [default: a new one]"
)
def ext4(cuts: int, seed: int, options: str, directory: Path | None) -> None:
    """Cut the power of a real ext4 while processes write (needs root)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that nothing stays mounted
    losses: list[str] = []
    with tempfile.TemporaryDirectory(dir=directory) as place, clean_processes() as processes:
        click.echo(HEADER)
        for name in STAGES:
            part = -(-cuts // len(STAGES))
            try:
                finding = processes.submit(cut, name, part, seed, Path(place), options).result()
            except MountError as error:
                raise click.ClickException(str(error)) from error
            click.echo(finding.row())
            losses += finding.losses
    for loss in losses:
        click.echo(loss, err=True)
    sys.exit(bool(losses))
