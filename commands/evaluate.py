"""`evaluate`: how good the votes of neighbours are, on logos whose values are known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import click
import numpy as np
from numpy.typing import NDArray

from commands.attributes import attributes_of
from commands.shell import definition_of, open_store, progress
from embeddings.collection.directory import CollectionDirectory
from embeddings.errors import StoreUnavailableError
from embeddings.store.store import EmbeddingStore
from index.cosine import CosineIndex
from index.protocol import Neighbours, SearchIndex
from index.vote_evaluation import Evaluation, Threshold, ValueEvaluation
from index.vote_evaluation import evaluate as held_against
from runtime.collections import open_collection_catalog
from runtime.engines import open_engine
from settings import Settings

_SHARE = click.FloatRange(0, 1)


@click.command()
@click.option("--attribute", required=True, help="The key of the attribute that is predicted.")
@click.option("--k", type=click.IntRange(1, 500), default=10, show_default=True, help="Neighbours that vote.")
@click.option("--threshold", type=_SHARE, default=0.0, show_default=True, help="Least share that makes a prediction.")
@click.option("--precision", type=_SHARE, default=0.95, show_default=True, help="Wanted share of right predictions.")
@click.option("--index", "name", help="The index or collection to search. [default: ANN_DEFAULT_INDEX]")
@click.option("--other-photos", is_flag=True, help="Logos of the same photo do not vote: a new photo has no such.")
@click.option("--values", type=click.IntRange(0), default=20, show_default=True, help="Most frequent values to list.")
@click.option("--json", "as_json", is_flag=True, help="For programs: all values.")
@click.pass_obj
def evaluate(
    settings: Settings,
    attribute: str,
    k: int,
    threshold: float,
    precision: float,
    name: str | None,
    other_photos: bool,
    values: int,
    as_json: bool,
) -> None:
    """Measure how well neighbours predict an attribute: each logo that has it is voted on as if it had not.

    Prints accuracy, coverage, how far confidences can be believed, and the threshold for the wanted precision.
    """
    own = name if name in CollectionDirectory(settings.data_dir).names() else None  # else an index of the default store
    definition = definition_of(settings, own)
    with open_store(settings, own) as store, attributes_of(store.path) as attributes:
        ids = store.ids()
        known = {} if attributes is None else attributes.values_of(attribute, attributes.logo_ids().tolist())
        index: SearchIndex
        if definition is None:
            index = open_engine(settings, store).catalog.get(name)
        else:
            index = open_collection_catalog(settings, definition, store).get(name)
            index = CosineIndex(index) if definition.metric == "cosine" else index
        labelled = np.sort(ids[np.isin(ids, [*known])])
        labelled = labelled[~np.isin(labelled, index.absent(labelled))]
        if not len(labelled):
            raise StoreUnavailableError(f"no indexed logo has the attribute {attribute!r}: there is nothing to measure")
        voters = _Voters(store, index, k, other_photos=other_photos)
        neighbour_ids, distances = _neighbours(voters, labelled, settings.workers.threads)
    found = held_against(labelled, neighbour_ids, distances, known, threshold=threshold, precision=precision)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        for line in _lines(found, attribute, threshold, precision, values):
            click.echo(line)


@dataclass(frozen=True, slots=True)
class _Voters:
    """Finds the logos that vote.

    Attributes:
        store: the logos.
        index: of them.
        k: number of voters.
        other_photos: whether those of the same photo are left out.
    """

    store: EmbeddingStore
    index: SearchIndex
    k: int
    other_photos: bool

    def of(self, logo_id: int) -> Neighbours:
        """Return the `k` nearest logos that vote on an indexed one; fewer if the index holds no more."""
        wanted = self.k + 1
        while True:
            found = self.index.nearest_to_logo(logo_id, wanted)
            left_out = {logo_id, *self.store.deleted_among(found.logo_ids), *self._of_same_photo(logo_id, found)}
            others = [place for place, other in enumerate(found.logo_ids) if other not in left_out][: self.k]
            if len(others) == self.k or len(found.logo_ids) < wanted:
                return Neighbours([found.logo_ids[at] for at in others], [found.distances[at] for at in others])
            wanted *= 2

    def _of_same_photo(self, logo_id: int, found: Neighbours) -> set[int]:
        if not self.other_photos:
            return set()
        known = self.store.provenance([logo_id, *found.logo_ids])
        own = known.get(logo_id)
        return {other for other, origin in known.items() if own is not None and origin.image_url == own.image_url}


def _neighbours(
    voters: _Voters, logo_ids: NDArray[np.int64], threads: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the voters on each logo, ids and distances, (n, k); infinitely far if there are fewer."""
    ids, distances = np.zeros((len(logo_ids), voters.k), np.int64), np.full((len(logo_ids), voters.k), np.inf)
    with ThreadPoolExecutor(threads) as pool, progress("searching neighbours", len(logo_ids)) as advance:
        for row, found in enumerate(pool.map(voters.of, logo_ids.tolist())):
            ids[row, : len(found.logo_ids)] = found.logo_ids
            distances[row, : len(found.distances)] = found.distances
            advance(1)
    return ids, distances


def _lines(found: Evaluation, attribute: str, threshold: float, precision: float, values: int) -> Iterator[str]:
    yield f"{found.logos} logos have the attribute {attribute}, with {len(found.values)} values"
    yield f"accuracy   {found.accuracy:.3f}  their own value has the largest share of the vote"
    yield f"coverage   {found.coverage:.3f}  a prediction is made, at threshold {threshold:g}"
    yield f"precision  {found.precision:.3f}  of these predictions are right"
    yield f"threshold  {_threshold(found.threshold)}  from which {precision:g} of the predictions are right"
    yield ""
    yield "confidence  predictions   mean  right"
    for part in found.reliability:
        shown = f"{part.confidence:5.3f}  {part.accuracy:5.3f}" if part.logos else "    -      -"
        yield f"{part.low:.1f} to {part.high:.1f}  {part.logos:11}  {shown}"
    if values:
        yield ""
        yield "logos  precision  recall  threshold  value"
    for value in found.values[:values]:
        yield _value_line(value)
    if len(found.values) > values:
        yield f"and {len(found.values) - values} more values: --values, or --json for all"


def _value_line(value: ValueEvaluation) -> str:
    least = _threshold(value.threshold)
    return f"{value.logos:5}  {value.precision:9.3f}  {value.recall:6.3f}  {least:>9}  {value.value}"


def _threshold(threshold: Threshold | None) -> str:
    return "none " if threshold is None else f"{threshold.confidence:.3f}"
