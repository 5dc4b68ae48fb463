"""The vote journey: from a logo or a vector to its neighbours, and from their attributes to a prediction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.journeys.logo_attributes import LogoAttributes
from api.journeys.neighbour_search import NeighbourSearch
from index.protocol import Neighbours
from index.votes import Prediction, predict


@dataclass(frozen=True, slots=True)
class Voting:
    """Predicts the value of an attribute by the votes of the nearest logos. Errors are those of the search.

    Attributes:
        attributes: of the logos.
        key: the attribute to predict.
        k: the largest number of neighbours that vote; the logo itself never does.
        threshold: the smallest share of the vote that makes a prediction.
        index_name: the index to search; `None` is the default one.
    """

    attributes: LogoAttributes
    key: str
    k: int
    threshold: float
    index_name: str | None

    def on_logos(self, search: NeighbourSearch, logo_ids: Iterable[int]) -> dict[int, Prediction]:
        """Return a prediction for each known logo, in the order given; unknown and damaged ones are left out."""
        others = search.of_logos(logo_ids, self.k, self.index_name, exclude_self=True)
        values = self._values({voter for neighbours in others.values() for voter in neighbours.logo_ids})
        return {logo_id: self._outcome(neighbours, values) for logo_id, neighbours in others.items()}

    def on_logo(self, search: NeighbourSearch, logo_id: int) -> Prediction | None:
        """Return a prediction for a logo; `None` if neither index nor store know it."""
        others = search.of_logo(logo_id, self.k, self.index_name, exclude_self=True)
        return None if others is None else self._outcome(others, self._values(others.logo_ids))

    def on_vector(self, search: NeighbourSearch, vector: NDArray[np.floating]) -> Prediction:
        """Return a prediction for a `(dim,)` vector."""
        found = search.of_vector(vector, self.k, self.index_name)
        return self._outcome(found, self._values(found.logo_ids))

    def _values(self, logo_ids: Collection[int]) -> dict[int, str]:
        return self.attributes.values_of(self.key, logo_ids)

    def _outcome(self, voters: Neighbours, values: Mapping[int, str]) -> Prediction:
        return predict(voters.logo_ids, voters.distances, values, threshold=self.threshold)
