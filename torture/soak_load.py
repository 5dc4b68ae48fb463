"""Concurrent clients of the service: all routes, good and bad requests, and connections closed midway.

Each answer is compared with the ledger. If there is no answer, its time is recorded, so that missing answers that no
restart explains are found.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import requests

from demo.marked_picture import Box
from torture.soak_ledger import Ledger
from torture.soak_mischief import API, UNKNOWN, bad_requests, hang_up
from torture.soak_pictures import Pictures
from torture.soak_record import Record

FORGOTTEN = 10**12  # ids from here on may be stored, but their client did not wait for the answer
DIM = 1280
ANSWER_SECONDS = 60  # gunicorn would have replaced a stuck worker by then


class NoGoodAnswerError(Exception):
    """The connection ended before the answer, or the answer is wrong."""


class Client:
    """One client with one connection, which makes one request after the other until it is stopped.

    Args:
        base: `http://HOST:PORT` of the service.
        photo_url: returns the address of a photo's path.
        pictures: what it adds.
        ledger: where it notes what it was promised.
        record: where it notes what it saw.
        seed: determines what it does.
        pause: mean seconds between two requests.
        most_logos: from this size on, a logo is deleted for each new one: a store that grows hides a leak.

    Attributes:
        tasks: what it does, with relative frequencies.
    """

    def __init__(
        self,
        base: str,
        photo_url: Callable[[str], str],
        pictures: Pictures,
        ledger: Ledger,
        record: Record,
        *,
        seed: int,
        pause: float,
        most_logos: int,
    ) -> None:
        self._base = base
        self._photo_url = photo_url
        self._pictures = pictures
        self._ledger = ledger
        self._record = record
        self._pause = pause
        self._most_logos = most_logos
        self._dice = random.Random(seed)
        self._session = requests.Session()
        self._thread = threading.Thread(target=self._run, name=f"client-{seed}", daemon=True)
        self._stopping = threading.Event()
        self._go = threading.Event()
        self._resting = threading.Event()
        self._forgotten = FORGOTTEN + seed * 10**8
        self.tasks: dict[Callable[[], None], float] = {
            self._add_new: 20,
            self._add_known: 6,
            self._add_deleted: 1,
            self._delete: 4,
            self._by_id: 20,
            self._by_latest_id: 8,
            self._by_unknown_id: 5,
            self._random: 8,
            self._batch: 8,
            self._from_embedding: 6,
            self._count: 8,
            self._stored: 0.5,
            self._bad: 12,
            self._hang_up: 4,
        }

    def start(self) -> None:
        """Start."""
        self._go.set()
        self._thread.start()

    def rest(self) -> None:
        """Tell it to close its connection and wait; `wait_until_resting` waits for that."""
        self._resting.clear()
        self._go.clear()

    def wait_until_resting(self) -> None:
        """Wait until it has received its answer and closed its connection."""
        while self._thread.is_alive() and not self._resting.wait(0.1):
            pass

    def resume(self) -> None:
        """End its rest."""
        self._go.set()

    def stop(self) -> None:
        """Stop it after the answer that it waits for."""
        self._stopping.set()
        self._go.set()
        self._thread.join(2 * ANSWER_SECONDS)
        if self._thread.is_alive():
            self._record.wrong.append("a client never got its answer")
        self.close()

    def close(self) -> None:
        """Close its connection."""
        self._session.close()

    def do(self, task: Callable[[], None]) -> None:
        """Do one task, and note what was wrong."""
        try:
            task()
        except NoGoodAnswerError:
            self._session.close()
        except Exception as error:  # noqa: BLE001 - an answer that cannot be parsed is a finding, too
            self._record.wrong.append(f"{task.__name__.strip('_').replace('_', ' ')}: {error!r}")

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._go.is_set():
                self._session.close()
                self._resting.set()
                self._go.wait()
                continue
            task = self._dice.choices([*self.tasks], [*self.tasks.values()])[0]
            self.do(task)
            self._stopping.wait(self._dice.expovariate(1 / self._pause) if self._pause else 0)

    def _ask(self, kind: str, expected: Iterable[int], method: str, path: str, **more: Any) -> requests.Response:
        """Send a request; note how long it took, and whether its status was expected."""
        began = time.monotonic()
        try:
            answer = self._session.request(method, f"{self._base}{path}", timeout=ANSWER_SECONDS, **more)
        except requests.RequestException as error:
            self._record.unanswered.append((began, time.monotonic(), f"{kind}: {error!r}"))
            raise NoGoodAnswerError from error
        self._record.answer(kind, time.monotonic() - began, answer.status_code)
        if answer.status_code not in expected:
            self._record.wrong.append(f"{kind}: {method} {path[:80]} is {answer.status_code}: {answer.text[:300]}")
            raise NoGoodAnswerError
        return answer

    def _add(self, kind: str, logos: dict[int, Box], path: str, expected: int) -> None:
        media = {
            "image_url": self._photo_url(path),
            "logos": [{"id": logo_id, "bounding_box": box} for logo_id, box in logos.items()],
        }
        answer = self._ask(kind, (200,), "POST", f"{API}/add", json=media)
        if answer.json() != {"added": expected}:
            self._record.wrong.append(f"{kind}: {sorted(logos)} returned {answer.text}, not {expected}")

    def _add_new(self) -> None:
        path, boxes = self._photo()
        chosen = self._dice.choices(boxes, k=self._dice.choice([1, 1, 1, 2, 5]))
        logos = dict(zip(self._ledger.fresh(len(chosen)), chosen, strict=True))
        if len(self._ledger) >= self._most_logos:
            self._delete_some(len(logos))
        self._add("add new", logos, path, len(logos))
        self._ledger.added(logos, {logo_id: f"{path} {box}" for logo_id, box in logos.items()})

    def _add_known(self) -> None:
        path, boxes = self._photo()
        known = self._ledger.take_stored(self._dice, self._dice.choice([1, 1, 4]))
        try:
            self._add("add known", {logo_id: self._dice.choice(boxes) for logo_id in known}, path, 0)
        finally:
            self._ledger.give_back(known)

    def _add_deleted(self) -> None:
        logo_id = self._ledger.take_deleted()
        if logo_id is not None:
            path, boxes = self._photo()
            box = self._dice.choice(boxes)
            self._add("add deleted", {logo_id: box}, path, 1)
            self._ledger.added([logo_id], {logo_id: f"{path} {box}"})

    def _delete(self) -> None:
        self._delete_some(1)

    def _delete_some(self, count: int) -> None:
        for logo_id in self._ledger.take_stored(self._dice, count):
            self._ask("delete", (200,), "DELETE", f"{API}/{logo_id}")
            self._ledger.deleted([logo_id])

    def _by_id(self) -> None:
        self._of_stored("by id", latest=False)

    def _by_latest_id(self) -> None:
        self._of_stored("by id, just stored", latest=True)

    def _of_stored(self, kind: str, *, latest: bool) -> None:
        for logo_id, stored in self._ledger.some(self._dice, 1, latest=latest).items():
            began = time.monotonic()
            answer = self._ask(kind, (200, 404), "GET", f"{API}/{logo_id}?count={self._dice.choice([4, 20, 100])}")
            if answer.status_code == 404 and self._ledger.still({logo_id: stored}):
                self._record.wrong.append(f"{kind}: logo {logo_id} is stored, and not found")
            if answer.status_code == 200:
                self._judge(kind, answer.json(), began)

    def _by_unknown_id(self) -> None:
        self._ask("by unknown id", (404,), "GET", f"{API}/{UNKNOWN + self._dice.randrange(10**6)}")

    def _random(self) -> None:
        began = time.monotonic()
        self._judge("random", self._ask("random", (200,), "GET", f"{API}?count=10").json(), began)

    def _batch(self) -> None:
        known = self._ledger.some(self._dice, self._dice.choice([1, 10, 50]))
        asked = [*known, *(UNKNOWN + self._dice.randrange(10**6) for _ in range(3))]
        began = time.monotonic()
        path = f"{API}/batch?count=4&logo_ids={','.join(map(str, asked))}"
        media = self._ask("batch", (200,), "GET", path).json()
        if missed := [logo_id for logo_id in self._ledger.still(known) if str(logo_id) not in media["results"]]:
            self._record.wrong.append(f"batch: no results for the stored logos {missed}")
        for results in media["results"].values():
            self._judge("batch", {"results": results, "count": len(results)}, began)

    def _from_embedding(self) -> None:
        embedding = np.random.default_rng(self._dice.randrange(2**32)).normal(size=DIM).tolist()
        began = time.monotonic()
        body = {"embedding": embedding, "count": self._dice.choice([1, 10])}
        answer = self._ask("from_embedding", (200,), "POST", f"{API}/from_embedding", json=body)
        self._judge("from_embedding", answer.json(), began)

    def _count(self) -> None:
        stored, removals = self._ledger.tally()
        count = self._ask("count", (200,), "GET", f"{API}/count").json()["count"]
        if count < stored - (self._ledger.tally()[1] - removals):
            self._record.wrong.append(f"count: {count}, although {stored} were stored")

    def _stored(self) -> None:
        known = self._ledger.all_stored()
        ids = self._ask("stored", (200,), "GET", f"{API}/stored").json()["stored"]
        found = set(ids)
        if len(found) < len(ids):
            self._record.wrong.append(f"stored: {len(ids) - len(found)} ids twice")
        if missed := [logo_id for logo_id in self._ledger.still(known) if logo_id not in found]:
            self._record.wrong.append(f"stored: {len(missed)} logos are not listed: {missed[:20]}")

    def _bad(self) -> None:
        path, boxes = self._photo()
        status, method, path, more = self._dice.choice(bad_requests(self._photo_url, path, boxes[0]))
        self._ask("bad request", (status,), method, path, **more)

    def _hang_up(self) -> None:
        self._forgotten += 1
        path = self._dice.choice([*self._pictures.boxes, "/slow"])
        try:
            hang_up(self._dice, self._base, self._photo_url(path), self._forgotten)
        except OSError as error:
            now = time.monotonic()
            self._record.unanswered.append((now, now, f"hang up: {error!r}"))
        with self._record.mutex:
            self._record.hung_up += 1

    def _photo(self) -> tuple[str, list[Box]]:
        path = self._dice.choice([*self._pictures.boxes])
        return path, self._pictures.boxes[path]

    def _judge(self, kind: str, media: dict[str, Any], began: float) -> None:
        """Check a list of neighbours for what must always be true."""
        ids = [result["logo_id"] for result in media["results"]]
        distances = [result["distance"] for result in media["results"]]
        if len(set(ids)) < len(ids) or distances != sorted(distances) or media["count"] != len(ids):
            self._record.wrong.append(f"{kind}: not a list of neighbours: {str(media)[:300]}")
        if gone := self._ledger.deleted_before(ids, began):
            self._record.wrong.append(f"{kind}: returned the deleted logos {gone}")
