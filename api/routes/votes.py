"""The routes of votes: predict an attribute of a logo, of several, of a vector or of an image from the neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import falcon
import numpy as np

from api.journeys.collections import Collection, Collections
from api.journeys.neighbour_search import NeighbourSearch
from api.journeys.voting import Voting
from api.journeys.write_limit import WriteLimit
from api.routes import schemas
from api.routes.attribute_values import attribute_of
from api.routes.parameters import index_of, narrowed
from api.routes.search import is_image, mark_empty, unknown_logo, vector_of_image
from index.votes import Prediction

DEFAULT_K = 10  # as in Robotoff


@dataclass(frozen=True, slots=True)
class LogoPredictionResource:
    """`GET /api/v1/ann/predict/{logo_id}`: what the neighbours of a logo say about it."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response, logo_id: int) -> None:
        """Return the outcome of the vote, or 404."""
        voting, _, search = _vote_of(req, self.collections)
        mark_empty(resp, search, voting.index_name)
        prediction = voting.on_logo(search, logo_id)
        if prediction is None:
            raise unknown_logo(logo_id)
        resp.media = _shown(prediction)

    on_head = on_get


@dataclass(frozen=True, slots=True)
class PredictionResource:
    """`POST /api/v1/ann/predict`: what neighbours say about a vector, an image, or several logos.

    An image counts as a write, as in `ImageNeighboursResource`.
    """

    collections: Collections
    max_logos: int
    limit: WriteLimit

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the outcome of one vote on the body, or of one for each of its `logo_ids`."""
        if is_image(req):
            voting, collection, search = _vote_of(req, self.collections)
            vector, _ = vector_of_image(req, collection, voting.index_name, self.limit)
            mark_empty(resp, search, voting.index_name)
            resp.media = _shown(voting.on_vector(search, vector))
            return
        body = req.get_media()
        schemas.check("PredictionQuery", body)
        voting, _, search = _vote_of(req, self.collections)
        mark_empty(resp, search, voting.index_name)
        if "embedding" in body:
            resp.media = _shown(voting.on_vector(search, np.array(body["embedding"], np.float64)))
            return
        logo_ids = schemas.logo_ids_in(body, self.max_logos)
        results = {str(logo_id): _shown(outcome) for logo_id, outcome in voting.on_logos(search, logo_ids).items()}
        resp.media = {"results": results, "count": len(results)}


def _vote_of(req: falcon.Request, collections: Collections) -> tuple[Voting, Collection, NeighbourSearch]:
    """Return the vote that a request asks for, its collection, and the search that finds the voters."""
    index_name = index_of(req, blank_is_default=True)
    collection = collections.of(index_name)
    voting = Voting(
        collection.attributes,
        attribute_of(req, collection),
        k=req.get_param_as_int("k", min_value=1, max_value=schemas.MAX_COUNT, default=DEFAULT_K),
        threshold=_threshold_of(req),
        index_name=index_name,
    )
    return voting, collection, narrowed(req, collection.search)


def _threshold_of(req: falcon.Request) -> float:
    threshold = req.get_param_as_float("threshold", default=0.0)
    if not 0 <= threshold <= 1:  # also refuses NaN
        raise falcon.HTTPInvalidParam("It takes a number from 0 to 1.", "threshold")
    return threshold


def _shown(prediction: Prediction) -> dict[str, Any]:
    return {
        "value": prediction.value,
        "confidence": prediction.confidence,
        "shares": [{"value": value, "share": share} for value, share in prediction.shares.items()],
        "deciders": [
            {"logo_id": voter.logo_id, "distance": voter.distance, "weight": voter.weight}
            for voter in prediction.deciders
        ],
    }
