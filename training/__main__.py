"""`python -m training`: download, render, train, convert, and measure what the distances mean."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import time
from dataclasses import replace
from pathlib import Path

import click

from embeddings.errors import ModelError
from embeddings.model.convert import WeightsOrigin, add_distances, export_model
from embeddings.model.description import LITE0, ConvertedModel
from embeddings.model.embedder import Embedder
from training.artwork import render_gallery
from training.batches import Folders, Studio
from training.distances import measure_distances
from training.grounds import Grounds, GroundsError
from training.imagenet import WeightsError, published_file
from training.packages import REGISTRY, TABLE, PackageError, download, read_table

ORIGIN = WeightsOrigin(
    "ImageNet's weights (tensorflow/tpu, Apache-2.0), tuned on rendered logos, see docs/model-card.md",
    "AGPL-3.0-or-later",
)
# Number of logos, and of crops of each, to measure the meaning of distances on.
MEASURED, MEASURED_QUICKLY = (300, 4), (6, 2)

logger = logging.getLogger(__name__)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("training-data"), show_default=True)
@click.option("--run", "run_name", help="The run to start or resume.  [default: bundled, or quick]")
@click.option("--registry", default=REGISTRY, show_default=True, help="The npm registry, or a mirror of it.")
@click.option(
    "--table",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=TABLE,
    help="A table of packages to use instead of packages.json.",
)
@click.option(
    "--grounds",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIRECTORY",
    help="Photographs to print half of the logos on.  [default: draw all backgrounds]",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=min(8, os.cpu_count() or 1),
    show_default=True,
    help="Processes that draw crops.",
)
@click.option("--minutes", type=float, help="Stop after this time, with a checkpoint to resume from.")
@click.option("--checkpoint-minutes", default=5.0, show_default=True)
@click.option("--quick", is_flag=True, help="Run a few steps to check that all parts work; do not use the weights.")
def main(
    folder: Path,
    run_name: str | None,
    registry: str,
    table: Path,
    grounds: Path | None,
    workers: int,
    minutes: float | None,
    checkpoint_minutes: float,
    quick: bool,
) -> None:
    """Train the weights of efficientnet-lite0 on rendered logos, starting from ImageNet's.

    Run it again to resume where it stopped.
    """
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    folders = Folders.under(folder, table, grounds)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise click.ClickException(f"another run uses {folder}: wait for it, or name another --folder") from error
        try:
            _prepare(folders, registry)
            run_folder = folder / "runs" / (run_name or ("quick" if quick else "bundled"))
            seconds = math.inf if minutes is None else minutes * 60.0
            weights = _train(folders, run_folder, workers, checkpoint_minutes * 60.0, seconds, quick)
            if weights is None:
                click.echo("Stopped; run the same command again to resume.")
                return
            converted = _convert(weights, folders, run_folder / "weights", quick)
        except (PackageError, GroundsError, WeightsError, ModelError) as error:
            raise click.ClickException(str(error)) from error
    click.echo(
        f"The converted weights and their description are in {converted.path.parent}. docs/model-card.md says how to"
        " measure and to bundle them."
    )


def _prepare(folders: Folders, registry: str) -> None:
    """Report early what would fail later, then download the packages and render the icons."""
    if folders.grounds is None:
        logger.info(
            "no --grounds: all backgrounds are drawn. Half of the backgrounds of the shipped weights were photographs;"
            " without them macro-recall@4 is about 0.01 to 0.06 lower, see docs/model-card.md"
        )
    else:
        Grounds(folders.grounds)
    packages = read_table(folders.table)
    published_file()
    download(packages, folders.downloads, registry)
    icons = tuple(package for package in packages if package.kind == "icons")
    render_gallery(icons, folders.downloads, folders.artwork)


def _train(
    folders: Folders, run_folder: Path, workers: int, checkpoint_seconds: float, seconds: float, quick: bool
) -> Path | None:
    """Train until the end, or until the time is up. Return the Keras weights if the run is complete."""
    from training.outcome import save_outcome  # imports TensorFlow, so only here
    from training.run import BUNDLED, QUICK, QUICK_SEEDS, SEEDS, CheckpointError, Run

    recipe, seeds = (QUICK, QUICK_SEEDS) if quick else (BUNDLED, SEEDS)
    weights = []
    ends = time.monotonic() + seconds
    for seed in seeds:
        try:
            run = Run(replace(recipe, seed=seed), folders, run_folder / f"seed-{seed}", workers)
        except CheckpointError as error:
            raise click.ClickException(str(error)) from error
        if not run.train(checkpoint_seconds, ends - time.monotonic()):
            return None
        weights.append(run.averaged_weights())
    return save_outcome(weights, recipe, folders, run_folder, workers)


def _convert(weights: Path, folders: Folders, output_dir: Path, quick: bool) -> ConvertedModel:
    """Convert Keras weights to the served format, and describe what its distances mean."""
    converted = export_model(LITE0, str(weights), output_dir, label="bundled", origin=ORIGIN)
    labels, views = MEASURED_QUICKLY if quick else MEASURED
    distances = measure_distances(Studio(folders), Embedder(converted), labels, views)
    logger.info("distances of one logo %s, of different logos %s", distances.same, distances.other)
    return add_distances(converted, distances)


if __name__ == "__main__":
    main()
