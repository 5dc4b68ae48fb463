"""The whole service on real photos: add under SIGKILL, rebuild while it runs, query, compare with exact search.

    python -m benchmarks.real_photos FOLDER [--kills 20]

FOLDER holds `logos.jsonl`, one `{"logo_id", "photo", "brand", "bounding_box"}` a line, and `photos/`.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import json
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import requests
from numpy.typing import NDArray

from benchmarks.rivals.vectors import count_found
from index.exact import ExactIndex
from tests.end_to_end.service import Service, manage
from tests.photo_server import PhotoServer
from tests.waiting import wait_until

CLIENTS = 4
NEIGHBOURS = 10


@dataclass
class Adding:
    """What the clients sent, and what was acknowledged."""

    waiting: collections.deque[tuple[str, list[dict[str, Any]]]]
    total: int
    acknowledged: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def has_reached(self, count: int) -> bool:
        """Return whether at least `count` logos are acknowledged."""
        return len(self.acknowledged) >= count

    def run_client(self, service: Service, photos: PhotoServer) -> None:
        """Send one request after the other; a request without an answer returns to the queue."""
        while True:
            try:
                photo, logos = self.waiting.popleft()
            except IndexError:
                return
            body = {
                "image_url": photos.url(f"/{photo}"),
                "logos": [{"id": logo["logo_id"], "bounding_box": logo["bounding_box"]} for logo in logos],
            }
            try:
                answer = service.post("/add", body)
            except requests.RequestException:
                self.waiting.append((photo, logos))
                time.sleep(0.02)
                continue
            if answer.status_code != 200:
                raise AssertionError(answer.text)
            with self.lock:
                self.acknowledged.update(logo["logo_id"] for logo in logos)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--kills", default=20, show_default=True, help="Number of kills of the service while logos are added.")
@click.option("--tree-count", default=100, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(folder: Path, kills: int, tree_count: int, seed: int) -> None:
    """Print what was lost (if anything, it fails) and how the answers compare with exact search."""
    logos = [json.loads(line) for line in (folder / "logos.jsonl").read_text().splitlines()]
    photos = {f"/{path.name}": path.read_bytes() for path in (folder / "photos").iterdir()}
    with tempfile.TemporaryDirectory() as scratch, PhotoServer(photos) as server:
        data_dir = Path(scratch) / "data"
        service = Service(data_dir, workers=2, GUNICORN_CMD_ARGS="--access-logfile /dev/null")
        with service:
            _add_under_fire(service, server, logos, kills, random.Random(seed))
            ids, vectors = _stored(data_dir)
            _rebuild_while_it_runs(service, tree_count, len(ids))
            _compare(service, ids, vectors, {logo["logo_id"]: logo["brand"] for logo in logos})
        verified = manage(data_dir, "verify")
        click.echo(f"manage.py verify: exit {verified.returncode}")
        assert verified.returncode == 0, verified.stdout + verified.stderr


def _add_under_fire(
    service: Service, server: PhotoServer, logos: list[dict[str, Any]], kills: int, dice: random.Random
) -> None:
    by_photo: dict[str, list[dict[str, Any]]] = {}
    for logo in logos:
        by_photo.setdefault(logo["photo"], []).append(logo)
    adding = Adding(collections.deque(by_photo.items()), len(logos))
    started = time.monotonic()
    killed = lost = 0
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(adding.run_client, service, server) for _ in range(CLIENTS)]
        for kill in range(1, kills + 1):
            threshold = adding.total * kill // (kills + 1)
            wait_until(functools.partial(adding.has_reached, threshold))
            time.sleep(dice.random() * 0.05)
            service.kill()
            with adding.lock:
                before = set(adding.acknowledged)
            killed += 1
            service.start()
            lost += len(before - set(service.get("/stored").json()["stored"]))
        for client in clients:
            client.result()
    seconds = time.monotonic() - started
    stored = service.get("/stored").json()["stored"]
    lost += len(adding.acknowledged - set(stored))
    click.echo(
        f"added {len(stored)} of {len(logos)} logos from {len(by_photo)} photos in {seconds:.1f} s,"
        f" under {killed} SIGKILLs: {len(adding.acknowledged)} acknowledged,"
        f" {lost} lost, {len(stored) - len(set(stored))} doubled"
    )
    assert lost == 0
    assert sorted(stored) == sorted(logo["logo_id"] for logo in logos)


def _stored(data_dir: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Read the store as any HDF5 tool would, while the service runs."""
    with h5py.File(data_dir / "efficientnet-b0.hdf5", "r") as file:
        ids = file["external_id"][:2000]
        rows = np.flatnonzero(ids > 0)
        return ids[rows], file["embedding"][: rows[-1] + 1][rows]


def _rebuild_while_it_runs(service: Service, tree_count: int, items: int) -> None:
    pid = service.process.pid
    started = time.monotonic()
    built = manage(service.data_dir, "generate-index", "--tree-count", str(tree_count), ANN_MAP_POINTS="0")
    assert built.returncode == 0, built.stderr
    took = time.monotonic() - started
    wait_until(lambda: all(service.get("/?count=500").json()["count"] == min(500, items) for _ in range(16)))
    assert service.process.pid == pid
    assert service.process.poll() is None
    click.echo(
        f"generate-index: {took:.1f} s for {items} logos and {tree_count} trees;"
        f" both workers serve it {time.monotonic() - started - took:.1f} s later, without restart"
    )


def _compare(service: Service, ids: NDArray[np.int64], vectors: NDArray[np.float32], brands: dict[int, str]) -> None:
    exact = ExactIndex(ids, vectors)
    expected = {int(logo_id): exact.nearest_to_logo(int(logo_id), NEIGHBOURS) for logo_id in ids}
    answers: dict[str, dict[int, list[dict[str, Any]]]] = {"by id": {}, "in batch": {}, "by vector": {}}
    for start in range(0, len(ids), 100):
        named = ",".join(str(logo_id) for logo_id in ids[start : start + 100])
        batch = service.get(f"/batch?logo_ids={named}&count={NEIGHBOURS}").json()["results"]
        answers["in batch"].update({int(logo_id): rows for logo_id, rows in batch.items()})
    for logo_id, vector in zip(ids.tolist(), vectors, strict=True):
        answers["by id"][logo_id] = service.get(f"/{logo_id}?count={NEIGHBOURS}").json()["results"]
        body = {"embedding": vector.tolist(), "count": NEIGHBOURS}
        answers["by vector"][logo_id] = service.post("/from_embedding", body).json()["results"]
    row_of = {logo_id: row for row, logo_id in enumerate(ids.tolist())}
    click.echo("| query | queries | recall@10 | largest relative error of a distance | same brand in the nearest 4 |")
    click.echo("|---|---|---|---|---|")
    for way, found in answers.items():
        hits = error = 0.0
        same = []
        for logo_id, rows in found.items():
            oracle = [row_of[near] for near in expected[logo_id].logo_ids]
            answered = [row_of[row["logo_id"]] for row in rows]
            hits += count_found(vectors, vectors[row_of[logo_id]], answered, oracle) / len(oracle)
            for row in rows:
                true = float(
                    np.linalg.norm(vectors[row_of[row["logo_id"]]].astype(np.float64) - vectors[row_of[logo_id]])
                )
                error = max(error, abs(row["distance"] - true) / max(true, 1.0))
            others = [row["logo_id"] for row in rows if row["logo_id"] != logo_id][:4]
            same.append(np.mean([brands[other] == brands[logo_id] for other in others]))
        click.echo(f"| {way} | {len(found)} | {hits / len(found):.4f} | {error:.1e} | {np.mean(same):.3f} |")
        assert error < 1e-3


if __name__ == "__main__":
    main()
