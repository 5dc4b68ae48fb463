"""A worker is killed while clients set attributes and replace vectors: what was acknowledged is there, and whole."""

from __future__ import annotations

import base64
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from embeddings.attributes.attribute_store import AttributeStore, attributes_path
from embeddings.attributes.copies import faults_of
from embeddings.store.store import EmbeddingStore
from tests.end_to_end.service import Service
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slow
DIM, BULK = 1280, 40
KILLS = int(os.environ.get("PROPERTY_EXAMPLES", "1")) * 15


@dataclass
class Client:
    """A client that writes version after version of its logos, and remembers which were acknowledged."""

    name: str
    first_id: int
    write: Callable[[Client, int], requests.Response]
    sent: int = 0
    acknowledged: int = 0
    refusals: list[str] = field(default_factory=list)

    @property
    def ids(self) -> range:
        return range(self.first_id, self.first_id + BULK)

    @property
    def possible(self) -> set[int]:
        """The versions that may be stored: the last one acknowledged, and one whose request was cut off."""
        return {self.acknowledged, self.sent}

    def send_again(self) -> None:
        """Write another version, as a client does whose request was cut off."""
        self.sent += 1
        assert self.write(self, self.sent).json() in ({"added": 0}, {"updated": BULK, "unknown": []})
        self.acknowledged = self.sent

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.sent += 1
            try:
                answer = self.write(self, self.sent)
            except requests.RequestException:
                return  # the worker was killed
            if answer.status_code != 200:
                self.refusals.append(answer.text)
                return
            self.acknowledged = self.sent


def attributes(client: Client, version: int) -> dict[str, str]:
    return {"version": str(version), "of": client.name, "barcode": f"{version:013}"}


def vector(logo_id: int, version: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full(DIM, version + logo_id / 1024, "<f4")


def send(service: Service, method: str, path: str, logos: list[dict[str, Any]]) -> requests.Response:
    return requests.request(method, service.url(path), json={"logos": logos}, timeout=PATIENCE)


def replaces(service: Service) -> Callable[[Client, int], requests.Response]:
    def write(client: Client, version: int) -> requests.Response:
        return send(
            service,
            "POST",
            "/add_embeddings?replace=true",
            [
                {
                    "id": logo_id,
                    "embedding": base64.b64encode(vector(logo_id, version).tobytes()).decode(),
                    "image_url": f"https://images.example.org/{version}.jpg",
                    "attributes": attributes(client, version),
                }
                for logo_id in client.ids
            ],
        )

    return write


def sets_attributes(service: Service) -> Callable[[Client, int], requests.Response]:
    def write(client: Client, version: int) -> requests.Response:
        logos = [{"id": logo_id, "attributes": attributes(client, version)} for logo_id in client.ids]
        return send(service, "PUT", "/attributes", logos)

    return write


def check_attributes(client: Client, store: AttributeStore) -> None:
    found = store.get(client.ids)
    versions = {int(of_logo["version"]) for of_logo in found.values()}
    assert versions <= client.possible
    (version,) = versions
    assert found == dict.fromkeys(client.ids, attributes(client, version))


def check_vectors(client: Client, store: EmbeddingStore) -> None:
    origins = store.provenance([*client.ids])
    for logo_id in client.ids:
        found = store.get(logo_id)
        version = round(float(found[0]) - logo_id / 1024)
        assert version in client.possible
        assert found.tobytes() == vector(logo_id, version).tobytes()
        assert origins[logo_id].image_url == f"https://images.example.org/{version}.jpg"


def test_nothing_acknowledged_is_lost_when_workers_are_killed(tmp_path: Path) -> None:
    with Service(tmp_path / "data", ANN_STORE_CAPACITY="4000000") as service:
        replacing = [Client(f"replaces-{k}", 1 + k * BULK, replaces(service)) for k in range(2)]
        setting = Client("sets", 1 + 2 * BULK, sets_attributes(service))
        clients = [*replacing, setting]
        for client in clients:  # so that their logos are stored when the first kill comes
            assert replaces(service)(client, 0).json() == {"added": BULK}
        store_path = service.data_dir / "efficientnet-b0.hdf5"
        cut_off = 0
        for kill in range(KILLS):
            stop = threading.Event()
            before = {client.name: client.acknowledged for client in clients}
            threads = [threading.Thread(target=client.run, args=(stop,)) for client in clients]
            for thread in threads:
                thread.start()
            watched = clients[kill % len(clients)]
            wait_until(lambda: watched.acknowledged > before[watched.name] + kill % 3 or watched.refusals)  # noqa: B023
            pid = service.worker_pid
            stop.set()
            os.kill(pid, signal.SIGKILL)
            for thread in threads:
                thread.join()
            assert [refusal for client in clients for refusal in client.refusals] == []
            wait_until(lambda: service.get("/count").status_code == 200)
            cut_off += sum(client.sent > client.acknowledged for client in clients)
            with (
                EmbeddingStore(store_path, writable=False) as store,
                AttributeStore(attributes_path(store_path)) as known,
            ):
                assert sorted(store.ids().tolist()) == list(range(1, 1 + 3 * BULK))
                assert faults_of(known.database) == []
                for client in replacing:
                    check_vectors(client, store)
                for client in clients:
                    check_attributes(client, known)
                assert not [*store.verify()]
            for client in clients:
                client.send_again()
        assert cut_off > KILLS  # of three requests, more than one was under way
        assert "Traceback" not in service.log
