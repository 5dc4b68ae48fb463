"""The routes of what a build measured: how far apart logos are, and which are nearly the same."""

from __future__ import annotations

from dataclasses import dataclass

import falcon
import numpy as np
from numpy.typing import NDArray

from api.answers.index_surveys import IndexSurveys
from api.journeys.collections import Collection, Collections
from api.routes.parameters import count_of, index_of
from index.cosine import cosine_distances
from index.distances.groups import groups_of
from index.distances.survey_file import Survey
from index.status import IndexStatus


@dataclass(frozen=True, slots=True)
class DistancesResource:
    """`GET /api/v1/ann/distances`: the distribution of the distances in an index."""

    collections: Collections
    surveys: IndexSurveys

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the percentiles, or 404."""
        collection, status, found = _survey_of(req, self.collections, self.surveys)
        resp.media = {
            "generation": status.source,
            "any_two": _measured(collection, found.any_two).tolist(),
            "nearest": _measured(collection, found.nearest).tolist(),
        }

    on_head = on_get


@dataclass(frozen=True, slots=True)
class DuplicatesResource:
    """`GET /api/v1/ann/duplicates`: groups of logos that are nearly the same.

    Attributes:
        collections: the collections.
        surveys: of their indexes.
        deletable: whether clients may delete logos.
    """

    collections: Collections
    surveys: IndexSurveys
    deletable: bool

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the groups, the largest first, without logos that were deleted since the build; or 404."""
        count = count_of(req)
        asked = req.get_param_as_float("max_distance", min_value=0.0)
        collection, status, found = _survey_of(req, self.collections, self.surveys)
        distances = _measured(collection, found.pairs.distances)
        cut_off = float(_measured(collection, np.array([found.cut_off]))[0])
        max_distance = cut_off if asked is None or not asked < cut_off else asked
        deleted = collection.store.deleted_among(np.unique(found.pairs.logo_ids).tolist())
        groups = groups_of(found.pairs.at(distances), max_distance, without=deleted)
        resp.media = {
            "generation": status.source,
            "groups": [{"logo_ids": group.logo_ids, "distance": group.distance} for group in groups[:count]],
            "count": len(groups[:count]),
            "total": len(groups),
            "max_distance": max_distance,
            "cut_off": cut_off,
            "logos_compared": found.searched,
            "deletable": self.deletable,
        }

    on_head = on_get


def _survey_of(
    req: falcon.Request, collections: Collections, surveys: IndexSurveys
) -> tuple[Collection, IndexStatus, Survey]:
    index_name = index_of(req, blank_is_default=True)
    collection = collections.of(index_name)
    status = collection.catalog.status_of(index_name)
    found = surveys.of(status)
    if found is None:
        text = "The distances of this index were not measured; the next `manage.py generate-index` measures them."
        raise falcon.HTTPNotFound(title="no distances", description=text)
    return collection, status, found


def _measured(collection: Collection, euclidean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return distances as searches of a collection measure them."""
    return cosine_distances(euclidean).round(6) if collection.metric == "cosine" else euclidean
