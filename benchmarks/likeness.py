"""`python -m benchmarks.likeness EMBEDDINGS`: compare drawn logos with the same number of embedded ones.

It compares what matters to an index: how vectors spread over directions, their lengths, the distances of neighbours,
the local dimension, and how many neighbours engines find with the same effort.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import numpy as np

from benchmarks.logo_statistics import FloatArray, principal_components
from benchmarks.logos import draw_logos
from benchmarks.results import RESULTS, Record, append
from benchmarks.rivals.vectors import nearest

QUERIES = 300
QUANTILES = (10, 50, 90)
RANKS = (1, 10, 100)
COMPONENTS = (16, 64, 256)
PAIRS = 2000
SEED = 5


@click.command()
@click.argument("embeddings", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RESULTS / "likeness.jsonl",
    help="The file of results.  [default: docs/benchmarks/likeness.jsonl]",
)
@click.option(
    "--engine", "engines", multiple=True, help="An engine to measure recall with (python -m benchmarks.rivals)."
)
@click.option("--rivals", type=click.Path(path_type=Path, dir_okay=False), help="The file for their results.")
def main(embeddings: Path, output: Path, engines: tuple[str, ...], rivals: Path | None) -> None:
    """Compare drawn logos with the embedded ones from `python -m benchmarks.embedded_logos`."""
    with np.load(embeddings) as file:
        real: FloatArray = file["vectors"]
    append(output, [{"data": "real", "logos": len(real)} | describe(real)])
    drawn = np.concatenate([vectors for _, vectors in draw_logos(len(real), SEED)])
    append(output, [{"data": "drawn", "logos": len(drawn)} | describe(drawn)])
    if engines:
        chosen = [argument for engine in engines for argument in ("--engine", engine)]
        chosen += [] if rivals is None else ["--output", str(rivals)]
        for data in (["--real", str(embeddings)], ["--logos", str(len(real))]):
            subprocess.run([sys.executable, "-m", "benchmarks.rivals", *data, *chosen], check=True)


def describe(vectors: FloatArray) -> Record:
    """Describe vectors `(n, dim)`; distributions are given by their 10th, 50th and 90th percentiles."""
    rng = np.random.default_rng(SEED)
    queries = rng.permutation(len(vectors))[:QUERIES]
    ranks = [rank for rank in RANKS if rank < len(vectors)]
    neighbours = nearest(vectors, vectors[queries], max(ranks) + 1)
    distances = np.linalg.norm(vectors[neighbours] - vectors[queries, np.newaxis], axis=2)
    pairs = rng.integers(0, len(vectors), (2, PAIRS))
    return {
        "variance in the first components": dict(zip(map(str, COMPONENTS), explained(vectors), strict=True)),
        "length": _percentiles(np.linalg.norm(vectors, axis=1)),
        "distance of any two": _percentiles(np.linalg.norm(vectors[pairs[0]] - vectors[pairs[1]], axis=1)),
        **{f"distance of neighbour {rank}": _percentiles(distances[:, rank]) for rank in ranks},
        "local intrinsic dimension": _percentiles(local_dimension(distances[:, 1:])),
    }


def explained(vectors: FloatArray) -> list[float]:
    """Return the share of the variance in the first components, for each number of `COMPONENTS`."""
    mean = vectors.mean(axis=0)
    basis = principal_components(vectors, mean)
    variances = np.concatenate(
        [((vectors[row : row + 10_000] - mean) @ basis.T) ** 2 for row in range(0, len(vectors), 10_000)]
    )
    shares = np.cumsum(variances.mean(axis=0)) / vectors.var(axis=0).sum()
    return [round(float(shares[count - 1]), 3) for count in COMPONENTS]


def local_dimension(distances: FloatArray) -> FloatArray:
    """Estimate the dimension around each query from its neighbours' distances `(q, k)`, nearest first.

    This is the maximum-likelihood estimate of Levina and Bickel (2005), as used by Amsaleg et al. (2015).
    """
    nearer = np.maximum(distances[:, :-1], np.finfo(np.float32).tiny)
    estimate: FloatArray = 1 / np.log(distances[:, -1:] / nearer).mean(axis=1)
    return estimate


def _percentiles(values: FloatArray) -> list[float]:
    return [round(float(value), 3) for value in np.percentile(values, QUANTILES)]


if __name__ == "__main__":
    main()
