"""The routes of the values that attributes have: list keys and values, the logos of a value, and candidates for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import falcon

from api.journeys.candidates import candidates
from api.journeys.collections import Collection, Collections
from api.routes.parameters import count_of, index_of
from api.routes.search import mark_empty
from embeddings.attributes.filters import Condition

DEFAULT_VALUES = 20


@dataclass(frozen=True, slots=True)
class AttributeKeysResource:
    """`GET /api/v1/ann/attributes/keys`: the keys in use."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the keys, in alphabetical order, with their numbers of logos and of values."""
        collection, _ = _collection_of(req, self.collections)
        keys = [asdict(key) for key in collection.attributes.used_keys()]
        resp.media = {"keys": keys, "count": len(keys)}

    on_head = on_get


@dataclass(frozen=True, slots=True)
class AttributeValuesResource:
    """`GET /api/v1/ann/attributes/values`: the values of a key."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the values that begin with `prefix`, the most frequent first, with their numbers of logos."""
        collection, _ = _collection_of(req, self.collections)
        key, count = attribute_of(req, collection), count_of(req, default=DEFAULT_VALUES)
        found = collection.attributes.counts(key, prefix=req.get_param("prefix", default=""), limit=count)
        resp.media = {"values": [asdict(value) for value in found], "count": len(found)}

    on_head = on_get


@dataclass(frozen=True, slots=True)
class LogosOfValueResource:
    """`GET /api/v1/ann/attributes/logos`: the logos that have a value."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return their ids, ascending, `count` of those above `after`; and the number of all."""
        collection, _ = _collection_of(req, self.collections)
        condition, count = _condition_of(req, collection), count_of(req)
        after = req.get_param_as_int("after", min_value=0, default=0)
        ids = collection.attributes.matching((condition,))
        first = int(ids.searchsorted(min(after, 2**63 - 1), side="right"))
        page = ids[first : first + count].tolist()
        resp.media = {"logo_ids": page, "count": len(page), "total": len(ids)}

    on_head = on_get


@dataclass(frozen=True, slots=True)
class CandidatesResource:
    """`GET /api/v1/ann/attributes/candidates`: the nearest logos to those of a value that have none."""

    collections: Collections

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the candidates, nearest first."""
        collection, index_name = _collection_of(req, self.collections)
        condition, count = _condition_of(req, collection), count_of(req)
        mark_empty(resp, collection.search, index_name)
        found = candidates(collection.search, collection.attributes, condition, count, index_name)
        resp.media = {"results": [asdict(candidate) for candidate in found], "count": len(found)}

    on_head = on_get


def attribute_of(req: falcon.Request, collection: Collection) -> str:
    """Return `attribute`, a key.

    Raises:
        falcon.HTTPBadRequest: it is missing, or no key.
    """
    key = req.get_param("attribute", required=True)
    if problem := collection.attributes.limits.key_problem(key):
        raise falcon.HTTPInvalidParam(f"{problem}.", "attribute")
    return key


def _collection_of(req: falcon.Request, collections: Collections) -> tuple[Collection, str | None]:
    index_name = index_of(req, blank_is_default=True)
    return collections.named(index_name), index_name


def _condition_of(req: falcon.Request, collection: Collection) -> Condition:
    """Return the key and the value that a request names. A value that cannot be set is one that no logo has."""
    return Condition(attribute_of(req, collection), req.get_param("value", required=True))
