"""How well vectors of logos on real photos find their brand, beside approaches that never learned what a logo is.

    python -m benchmarks.retrieval FOLDER [--model FILE.tflite] [--only Apple,Nike] [--sheets DIRECTORY]

`labelled_photos` describes FOLDER, `retrieval_protocol` the measure. Every crop is processed as in serving. The
approaches are models, colour histograms and small pictures, each in a strong form, and the model's own network before
any training. Figures of folders with different numbers of brands are not comparable: the fewer brands, the more is
found by chance, so the table includes chance.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.labelled_photos import LabelledPhotos
from benchmarks.retrieval_protocol import METRICS, chance_at_4, knn_accuracy, recall_at_4
from benchmarks.retrieval_report import Result, contact_sheets, report
from embeddings.errors import ModelError
from embeddings.model.convert import export_in_child_process
from embeddings.model.description import B0, LITE0, ConvertedModel, ModelDescription, locate_model
from embeddings.model.embedder import Embedder
from settings import Settings

HISTOGRAM_LEVELS = 4  # of each channel: 64 bins
PICTURE_SIDE = 16  # pixels
EXPORT_SECONDS = 900.0
SAY_EVERY = 100  # crops

Embed = Callable[[Iterable[Image.Image]], NDArray[np.float32]]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A converted model, with its description beside it; may be repeated. The bundled one by default.",
)
@click.option("--only", help="The brands to use, separated by commas.")
@click.option("--baselines/--no-baselines", default=True, show_default=True, help="Also measure the baselines.")
@click.option("--draws", type=click.IntRange(1), default=20, show_default=True, help="Draws of candidates.")
@click.option("--k", type=click.IntRange(1), default=10, show_default=True, help="Number of nearest logos that vote.")
@click.option("--seed", default=0, show_default=True, help="Determines the candidates.")
@click.option("--threads", type=click.IntRange(1), default=Settings().workers.embed_threads, show_default=True)
@click.option(
    "--sheets",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write contact sheets of the first model's best and worst queries to this directory.",
)
def main(
    folder: Path,
    models: tuple[Path, ...],
    only: str | None,
    baselines: bool,
    draws: int,
    k: int,
    seed: int,
    threads: int,
    sheets: Path | None,
) -> None:
    """Measure and print how well the logos in FOLDER find others of their brand."""
    photos = LabelledPhotos.read(folder, [brand.strip() for brand in only.split(",")] if only else ())
    try:
        chance = chance_at_4(photos.brands, photos.photos)
        converted = [_described(path) for path in models] or [locate_model(LITE0, "bundled", Path())]
    except (ValueError, ModelError) as error:
        raise click.ClickException(str(error)) from error

    def measure(name: str, embed: Embed) -> Result:
        say = _Progress(name, len(photos.logos))
        try:
            vectors = embed(photos.crops(say.advance))
        except ModelError as error:
            raise click.ClickException(str(error)) from error
        about = vectors, photos.brands, photos.photos
        recall = {metric: recall_at_4(*about, metric=metric, draws=draws, seed=seed) for metric in METRICS}
        return Result(name, vectors, recall, {metric: knn_accuracy(*about, metric=metric, k=k) for metric in METRICS})

    results = [measure(_name(model.description), Embedder(model, threads=threads).embed) for model in converted]
    remarks = [f"± is the standard deviation over {draws} draws of the candidates."]
    if baselines:
        results += [measure(name, embed) for name, embed in BASELINES.items()]
        try:
            with tempfile.TemporaryDirectory(prefix="robotoff-ann-retrieval-") as scratch:
                click.echo("converting the untrained network", err=True)
                untrained = export_in_child_process(B0, "seeded", Path(scratch), timeout_seconds=EXPORT_SECONDS)
                results.append(measure(f"{B0}, never trained", Embedder(untrained, threads=threads).embed))
        except ModelError as error:
            remarks.append(f"The untrained network is left out: {error}.")
    click.echo(report(photos, results, chance, k, remarks), nl=False)
    if sheets is not None:
        sheets.mkdir(parents=True, exist_ok=True)
        for name, sheet in contact_sheets(photos, results[0], seed).items():
            sheet.save(sheets / f"{name}.png")
            click.echo(f"wrote {sheets / name}.png", err=True)


def colour_histograms(crops: Iterable[Image.Image]) -> NDArray[np.float32]:
    """Return the square roots of the share of each colour in each crop, `(n, 64) float32` of length 1.

    The L2 distance of the roots is the Hellinger distance, up to a factor; it finds more than that of the shares.
    """
    histograms = []
    for crop in crops:
        levels = np.asarray(crop).reshape(-1, 3).astype(np.int64) * HISTOGRAM_LEVELS // 256
        bins = levels @ (HISTOGRAM_LEVELS ** np.arange(3))
        histograms.append(np.sqrt(np.bincount(bins, minlength=HISTOGRAM_LEVELS**3) / len(bins)))
    return np.array(histograms, np.float32)


def small_pictures(crops: Iterable[Image.Image]) -> NDArray[np.float32]:
    """Return the crops resized to 16 × 16 pixels, minus the mean of each, `(n, 768) float32` from -1 to 1.

    Without the means, the cosine of two pictures is their correlation, which finds more than that of the pixels.
    """
    size = PICTURE_SIDE, PICTURE_SIDE
    pictures = [np.asarray(crop.resize(size, Image.Resampling.BICUBIC), np.float32).ravel() / 255 for crop in crops]
    return np.array([picture - picture.mean() for picture in pictures], np.float32)


BASELINES: dict[str, Embed] = {
    "colour histogram, 64 bins, square roots": colour_histograms,
    "16 × 16 pixels, less their mean": small_pictures,
}


def _described(path: Path) -> ConvertedModel:
    """Find the description of a converted file among those in its directory."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for record in sorted(path.parent.glob("*.json")):
        try:
            description = ModelDescription.from_json(record.read_text(encoding="utf-8"))
        except (ModelError, UnicodeDecodeError):
            continue
        if description.file_sha256 == digest:
            return ConvertedModel(path, description)
    raise ModelError(f"no description in {path.parent} belongs to {path.name}: keep the two files of a model together")


def _name(description: ModelDescription) -> str:
    return f"{description.name}, {description.weights}{'' if description.is_trained else ' (untrained)'}"


class _Progress:
    """Prints how many crops are done, and how fast, from time to time."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done, self._started = name, total, 0, time.monotonic()

    def advance(self, rows: int) -> None:
        self._done += rows
        if self._done % SAY_EVERY == 0 or self._done == self._total:
            rate = self._done / (time.monotonic() - self._started)
            click.echo(f"{self._name}: {self._done} of {self._total} crops, {rate:.0f} a second", err=True)


if __name__ == "__main__":
    main()
