"""`python -m training`: download, render, train, and put the weights where the service finds them."""

from __future__ import annotations

import fcntl
import logging
import math
import os
from pathlib import Path

import click

from training.artwork import render_gallery
from training.batches import Folders
from training.packages import REGISTRY, TABLE, PackageError, download, read_table


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("training-data"), show_default=True)
@click.option("--run", "run_name", help="The run to begin, or to go on with.  [default: bundled, or quick]")
@click.option("--registry", default=REGISTRY, show_default=True, help="The npm registry, or a mirror of it.")
@click.option(
    "--table",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=TABLE,
    help="Other packages than packages.json.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=min(8, os.cpu_count() or 1),
    show_default=True,
    help="Processes that draw crops.",
)
@click.option("--minutes", type=float, help="Stop after so many, with a checkpoint to go on from.")
@click.option("--checkpoint-minutes", default=5.0, show_default=True)
@click.option("--quick", is_flag=True, help="A few steps, to show that all the parts work; their weights know nothing.")
def main(
    folder: Path,
    run_name: str | None,
    registry: str,
    table: Path,
    workers: int,
    minutes: float | None,
    checkpoint_minutes: float,
    quick: bool,
) -> None:
    """Train the weights of efficientnet-b0 on rendered logos. Run it again to go on where it stopped."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    folders = Folders.under(folder, table)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise click.ClickException(
                f"another run is at work in {folder}: wait for it, or name another --folder"
            ) from error
        try:
            packages = read_table(table)
            download(packages, folders.downloads, registry)
            icons = tuple(package for package in packages if package.kind == "icons")
            render_gallery(icons, folders.downloads, folders.artwork)
        except PackageError as error:
            raise click.ClickException(str(error)) from error

        from training.run import BUNDLED, QUICK, CheckpointError, Run  # TensorFlow: not before it is needed

        name = run_name or ("quick" if quick else "bundled")
        try:
            run = Run(QUICK if quick else BUNDLED, folders, folder / "runs" / name, workers)
        except (CheckpointError, PackageError) as error:
            raise click.ClickException(str(error)) from error
        if not run.train(checkpoint_minutes * 60.0, math.inf if minutes is None else minutes * 60.0):
            click.echo("Stopped; the same command goes on.")
            return
        weights = run.finish()
    click.echo(f"The weights are in {weights}. The model card says how to measure and to bundle them.")


if __name__ == "__main__":
    main()
