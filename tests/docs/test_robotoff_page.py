"""The client that docs/robotoff.md shows works as printed, on a service that runs."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from tests.docs.robotoff_page import client_of_page, create_collection
from tests.end_to_end.service import Service, manage
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
LOGOS = 1200
RNG = np.random.default_rng(4)
CENTRES = RNG.normal(size=(12, 512))
VECTORS = (CENTRES[np.arange(LOGOS) % 12] + RNG.normal(0, 0.3, (LOGOS, 512))).astype("<f4")
LABELS = {logo_id: f"brand-{(logo_id - 1) % 12}" for logo_id in range(1, LOGOS + 1)}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("robotoff") / "data", workers=2, ANN_ALLOW_DELETE="1") as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> ModuleType:
    """The module of the page, and the collection that the page creates, while the service runs."""
    create_collection(service.data_dir)
    return client_of_page(service.port)


def test_the_client_of_the_page_stores_finds_predicts_and_deletes(service: Service, client: ModuleType) -> None:
    stored = {logo_id: vector.tobytes() for logo_id, vector in enumerate(VECTORS, 1)}
    others = {LOGOS + logo_id: content for logo_id, content in stored.items() if logo_id <= 30}  # of another project
    assert client.get_stored_logo_ids() == set()
    assert client.add_logos_to_ann(stored) == LOGOS
    assert client.add_logos_to_ann(stored) == 0
    assert client.add_logos_to_ann(others, "obf") == 30
    assert client.get_stored_logo_ids() == {*stored, *others}
    before = client.knn_search(1)  # no index yet: both workers find what either stored
    assert len(before) == 10
    assert manage(service.data_dir, "generate-index", "--index", "clip-vit-b-32").returncode == 0
    wait_until(lambda: service.get("/status?index=clip-vit-b-32").json()["logos_indexed"] == LOGOS + 30)
    near = client.knn_search(1)
    assert len(dict(near).keys() & dict(before).keys()) >= 8  # the index is approximate
    assert {LABELS[logo_id] for logo_id, _ in near} == {"brand-0"}
    assert 1 not in dict(near)
    assert {*dict(client.knn_search(1, 30, "obf"))} == {*others}
    assert client.knn_search(77_777) == []
    unlabelled = [logo_id for logo_id, _ in near[:4]]
    labels = {key: ("brand", label) for key, label in LABELS.items() if key not in unlabelled}
    assert client.set_labels({**labels, 77_777: ("brand", "none")}) == [77_777]
    predicted = client.predict_proba([1, 77_777, 2])
    assert [*predicted] == [1, 2]
    assert sum(predicted[1].values()) == pytest.approx(1)
    assert [*predicted[1]] == ["brand-0", None]
    weights = [1 / distance for _, distance in near]
    assert predicted[1]["brand-0"] == pytest.approx(sum(weights[4:]) / sum(weights))
    assert client.set_labels(dict.fromkeys(LABELS)) == []
    assert client.predict_proba([1]) == {1: {None: pytest.approx(1)}}
    assert client.set_labels(labels) == []
    assert client.add_logos_to_ann({LOGOS + 99: stored[1]}) == 1
    assert client.predict_proba([LOGOS + 99]) == {LOGOS + 99: {"brand-0": pytest.approx(1)}}
    assert client.add_logos_to_ann({LOGOS + 99: stored[2]}, replace=True) == 0
    assert client.predict_proba([LOGOS + 99]) == {LOGOS + 99: {"brand-1": pytest.approx(1)}}
    assert client.delete_ann_logos([near[0][0], 77_777]) == 1
    assert near[0][0] not in dict(client.knn_search(1))
    assert service.get("/count").json() == {"count": 0}
