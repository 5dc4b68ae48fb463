"""`python -m benchmarks.embedded_logos`: render logos, photograph and embed them, and measure their statistics.

It draws the same kinds of logos that the bundled weights were trained on (see `training`), with another seed: icons and
wordmarks, each class in 1, 2, 4, ... 64 views, and equally many logos in classes of each size. The embeddings go to an
.npz file, and their statistics to the file that `benchmarks.logos` draws from.
"""

from __future__ import annotations

import logging
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from benchmarks.logo_statistics import STATISTICS, FloatArray, LogoStatistics
from embeddings.model.description import LITE0, locate_model
from embeddings.model.embedder import Embedder
from training.artwork import render_gallery
from training.batches import BatchShape, Folders, Studio
from training.packages import REGISTRY, PackageError, download, read_table

MODEL = LITE0
LARGEST_CLASS = 64
CROPS_OF_A_BATCH = 64
SEED = 1000


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("training-data"), show_default=True)
@click.option("--registry", default=REGISTRY, show_default=True, help="The npm registry, or a mirror of it.")
@click.option("--logos", type=click.IntRange(CROPS_OF_A_BATCH), default=62_400, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes that draw and embed.")
@click.option(
    "--embeddings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file of `vectors` and `classes`; if it exists, nothing is drawn."
    "  [default: embeddings.npz in the folder]",
)
@click.option("--statistics", type=click.Path(path_type=Path, dir_okay=False), default=STATISTICS)
def main(folder: Path, registry: str, logos: int, workers: int, embeddings: Path | None, statistics: Path) -> None:
    """Measure the statistics that the logos of the benchmarks are drawn from."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s")
    embeddings = embeddings or folder / "embeddings.npz"
    if not embeddings.exists():
        try:
            folders = _rendered(folder, registry)
        except PackageError as error:
            raise click.ClickException(str(error)) from error
        vectors, classes = embed_logos(folders, logos, workers)
        np.savez(embeddings, vectors=vectors, classes=classes)
    with np.load(embeddings) as file:
        LogoStatistics.measure(file["vectors"], file["classes"]).save(statistics)
    click.echo(f"The embeddings are in {embeddings}, their statistics in {statistics}.")


def embed_logos(folders: Folders, count: int, workers: int) -> tuple[FloatArray, NDArray[np.int64]]:
    """Draw logos and embed them: vectors `(count, dim)` and classes `(count,)`, in random order."""
    batches = -(-count // CROPS_OF_A_BATCH)
    with ProcessPoolExecutor(workers, get_context("spawn"), _open_studio, (folders,)) as pool:
        parts = list(tqdm(pool.map(_embed_batch, range(batches)), "embedding", batches, unit="batch"))
    vectors = np.concatenate([vectors for vectors, _ in parts])
    classes = np.concatenate([classes + number * CROPS_OF_A_BATCH for number, (_, classes) in enumerate(parts)])
    order = np.random.default_rng(SEED).permutation(len(vectors))[:count]
    return vectors[order], classes[order]


def _rendered(folder: Path, registry: str) -> Folders:
    folders = Folders.under(folder)
    packages = read_table(folders.table)
    download(packages, folders.downloads, registry)
    icons = tuple(package for package in packages if package.kind == "icons")
    render_gallery(icons, folders.downloads, folders.artwork)
    return folders


class _Worker:
    studio: Studio
    embedder: Embedder


def _open_studio(folders: Folders) -> None:
    _Worker.studio = Studio(folders)
    _Worker.embedder = Embedder(locate_model(MODEL, "bundled", Path()), threads=1)


def _embed_batch(number: int) -> tuple[FloatArray, NDArray[np.int64]]:
    views = 2 ** (number % LARGEST_CLASS.bit_length())
    shape = BatchShape(CROPS_OF_A_BATCH // views, views, _Worker.embedder.description.preprocessing.size)
    crops = _Worker.studio.batch(SEED, number, shape)
    vectors = _Worker.embedder.embed(Image.fromarray(crop) for crop in crops)
    return vectors, np.repeat(np.arange(shape.labels), views)


if __name__ == "__main__":
    main()
