"""Whatever the engine, `/ann/{id}` and `/batch` answer alike through sequences of adds, builds and deletions.

The truth is exact search of the logos that an engine finds: the indexed ones and, if the service searches them, the
others. A logo comes first among its own neighbours if it is indexed, and is not among them if it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import falcon.testing
import numpy as np
import pytest
from click.testing import CliRunner

from api.app import AnnApp, create_app
from index.exact import ExactIndex
from index.milvus import patience
from manage import cli
from tests.milvus.servers.lite import LiteServer
from tests.photo_server import PhotoServer, photo
from tests.settings_with import settings_with
from tests.waiting import wait_until

A = "/api/v1/ann"
FIRST = [11, 12, 13, 14]
NEVER_STORED = 77

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class EngineUnderTest:
    """How a service searches, and how its index is built."""

    variables: dict[str, Any]
    build: tuple[str, ...] = ()
    finds_unindexed: bool = True
    needs_milvus: bool = False


ENGINES = {
    "annoy": EngineUnderTest({}, ("--no-reduce",), finds_unindexed=False),
    "annoy and what is not indexed": EngineUnderTest({"search_unindexed": True}, ("--no-reduce",)),
    "lists": EngineUnderTest({}, finds_unindexed=False),
    "lists and what is not indexed": EngineUnderTest({"search_unindexed": True}),
    "milvus": EngineUnderTest({"engine": "milvus"}, needs_milvus=True),
}


@dataclass
class Compared:
    """A service, and what it is held to.

    Attributes:
        indexed: the logos of the index.
        stored: all stored logos.
    """

    app: AnnApp
    engine: EngineUnderTest
    photos: PhotoServer
    run: Callable[..., Any]
    indexed: set[int] = field(default_factory=set)
    stored: set[int] = field(default_factory=set)
    vectors: dict[int, Any] = field(default_factory=dict)

    @property
    def client(self) -> falcon.testing.TestClient:
        return falcon.testing.TestClient(self.app)

    def add(self, logo_id: int) -> None:
        """Add a logo that no other looks like."""
        path = f"/{logo_id}.jpg"
        self.photos.photos[path] = photo(logo_id)
        body = {"image_url": self.photos.url(path), "logos": [{"id": logo_id, "bounding_box": [0, 0, 1, 1]}]}
        assert self.client.simulate_post(f"{A}/add", json=body).json == {"added": int(logo_id not in self.stored)}
        self.stored.add(logo_id)
        self.vectors[logo_id] = self.app.parts.store.get(logo_id)

    def build(self) -> None:
        """Build an index of all stored logos, and wait until it answers."""
        before = self.app.parts.catalog.status_of(None).source
        result = self.run("generate-index", *self.engine.build)
        assert result.exit_code == 0, result.output
        wait_until(lambda: self.app.parts.catalog.status_of(None).source != before)
        self.indexed = set(self.stored)

    def delete(self, logo_id: int) -> None:
        """Delete a logo, stored or not."""
        answer = self.client.simulate_delete(f"{A}/{logo_id}")
        assert answer.status_code == (200 if logo_id in self.stored else 404)
        self.stored.discard(logo_id)
        self.indexed.discard(logo_id)

    def check(self) -> None:
        """Compare the answers for all logos that were ever named, one by one and as batches."""
        asked = sorted({*self.vectors, NEVER_STORED})
        for count in (1, 3, 100):
            for exclude_self in (False, True):
                expected = {
                    str(logo_id): self._expected(logo_id, count, exclude_self=exclude_self)
                    for logo_id in asked
                    if logo_id in self.stored
                }
                query = f"count={count}&exclude_self={str(exclude_self).lower()}"
                named = ",".join(map(str, asked))
                batch = self.client.simulate_get(f"{A}/batch", query_string=f"logo_ids={named}&{query}").json
                assert_same(batch["results"], expected)
                assert batch["count"] == len(expected)
                posted = self.client.simulate_post(f"{A}/batch?{query}", json={"logo_ids": asked, "count": count}).json
                assert_same(posted["results"], expected)
                for logo_id in asked:
                    answer = self.client.simulate_get(f"{A}/{logo_id}", query_string=query)
                    if logo_id in self.stored:
                        assert_same({"": answer.json["results"]}, {"": expected[str(logo_id)]})
                    else:
                        assert answer.status_code == 404
        drawn = self.client.simulate_get(f"{A}?count=1").json["results"]
        assert [row["distance"] for row in drawn] == [0.0] * bool(self.indexed)
        assert {row["logo_id"] for row in drawn} <= self.indexed

    def _expected(self, logo_id: int, count: int, *, exclude_self: bool) -> Rows:
        found = self.indexed | (self.stored if self.engine.finds_unindexed else set())
        others = sorted(found - {logo_id})
        rows: Rows = []
        if others:
            exact = ExactIndex(others, np.array([self.vectors[other] for other in others]))
            near = exact.nearest_to_vector(self.vectors[logo_id], len(others))
            rows = [
                {"logo_id": other, "distance": distance}
                for other, distance in zip(near.logo_ids, near.distances, strict=True)
            ]
        itself = [{"logo_id": logo_id, "distance": 0.0}] if logo_id in self.indexed and not exclude_self else []
        return [*itself, *rows][:count]


def assert_same(answered: dict[str, Rows], expected: dict[str, Rows]) -> None:
    assert list(answered) == list(expected)
    for name, rows in expected.items():
        assert [row["logo_id"] for row in answered[name]] == [row["logo_id"] for row in rows], name
        distances = [row["distance"] for row in answered[name]]
        assert distances == pytest.approx([row["distance"] for row in rows], rel=1e-4, abs=1e-4)


@pytest.fixture(params=ENGINES, ids=lambda name: name.replace(" ", "_"))
def service(
    request: pytest.FixtureRequest, tmp_path: Path, photos: PhotoServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Compared]:
    engine = ENGINES[request.param]
    monkeypatch.setattr("index.build.LISTS_FROM", 1)
    values: dict[str, Any] = {
        "data_dir": tmp_path,
        "store_capacity": 200,
        "allow_delete": True,
        "allow_private_image_hosts": True,
        "reload_seconds": 0.05,
        "map_points": 0,
        **engine.variables,
    }
    if engine.needs_milvus:
        server: LiteServer = request.getfixturevalue("lite")
        values["milvus_uri"] = server.uri
        monkeypatch.setattr(patience, "_PAUSE_SECONDS", 0.05)
    for name, value in values.items():
        monkeypatch.setenv(f"ANN_{name.upper()}", str(value).lower() if isinstance(value, bool) else str(value))
    monkeypatch.setattr("os.setpriority", lambda *_: None)  # it would be that of the tests
    app = create_app(settings_with(**values))
    yield Compared(app, engine, photos, lambda *arguments: CliRunner().invoke(cli, arguments))
    app.parts.close()


def test_a_new_logo_is_not_its_own_neighbour_until_it_is_indexed(service: Compared) -> None:
    for logo_id in FIRST:
        service.add(logo_id)
    if not service.engine.variables.get("search_unindexed"):
        batch = service.client.simulate_get(f"{A}/batch?logo_ids={FIRST[0]},{FIRST[1]}")
        assert batch.json["results"] == {str(logo_id): [] for logo_id in FIRST[:2]}
        assert batch.headers["x-index-state"] == "empty"
    service.build()
    service.check()
    service.add(21)
    service.add(22)
    service.check()
    service.build()
    service.check()
    service.delete(21)
    service.delete(FIRST[0])
    service.check()
    service.add(23)
    service.check()
    service.build()
    service.check()
