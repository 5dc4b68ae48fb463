"""A soak of a few seconds works, and its verdicts report what is wrong."""

from __future__ import annotations

import http.server
import json
import os
import random
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from torture.soak import judge_answers, judge_log, run
from torture.soak_ledger import Ledger
from torture.soak_load import Client
from torture.soak_operator import EXPLAINED_SECONDS, plan
from torture.soak_pictures import Pictures
from torture.soak_record import Record
from torture.soak_samples import BYTES_AN_ID, TOLERATED, Sample, children, growth, sample, slope

HOUR = 3600.0
BOX = (0.1, 0.1, 0.9, 0.9)


def an_hour(*, seed: int = 1) -> list[Sample]:
    """Return samples of a process without leaks under a growing load; it loaded a model at first."""
    dice = random.Random(seed)
    samples = []
    for k in range(720):
        resting = k % 36 == 35
        samples.append(
            Sample(
                seconds=5.0 * k,
                pid=7,
                anonymous=int(100e6 - 60e6 * (k < 30) + dice.gauss(0, 3e6) + (40e6 if dice.random() < 0.1 else 0)),
                resident=200_000_000,
                descriptors=12 if resting else dice.randint(14, 20 + k // 40),
                threads=min(5 + k // 10, 12),
                ids=10 * k,
                resting=resting,
            )
        )
    return samples


def test_a_process_without_leaks_passes() -> None:
    for seed in range(20):
        judged = growth(an_hour(seed=seed), most_threads=12)
        assert judged.wrong == []
        assert abs(judged.memory.middle) < TOLERATED / 2
        assert judged.hours == pytest.approx(0.8, abs=0.01)


def test_a_leak_of_memory_is_reported() -> None:
    for seed in range(20):
        leaking = [
            replace(one, anonymous=one.anonymous + int(one.seconds / HOUR * 3 * TOLERATED))
            for one in an_hour(seed=seed)
        ]
        assert "memory grows" in growth(leaking, most_threads=12).wrong[0]


def test_growth_explained_by_new_ids_is_not_a_leak() -> None:
    fed = [
        replace(one, ids=100 * one.ids, anonymous=one.anonymous + int(BYTES_AN_ID * 0.9) * 100 * one.ids)
        for one in an_hour()
    ]
    judged = growth(fed, most_threads=12)
    assert judged.memory.middle > 5 * TOLERATED
    assert judged.wrong == []


def test_inconclusive_samples_do_not_pass() -> None:
    dice = random.Random(3)
    wild = [replace(one, anonymous=int(dice.uniform(0, 2e9))) for one in an_hour()]
    wild = [replace(one, anonymous=int(1e9 * dice.random())) if k % 60 < 30 else one for k, one in enumerate(wild)]
    assert "undecided" in growth(wild, most_threads=12).wrong[0]


def test_a_leak_of_descriptors_is_reported_although_load_hides_it() -> None:
    leaking = [replace(one, descriptors=one.descriptors + int(one.seconds / 1500)) for one in an_hour()]
    assert max(one.descriptors for one in leaking) < 42
    assert "open descriptors at rest" in growth(leaking, most_threads=12).wrong[0]


def test_a_leak_of_threads_is_reported() -> None:
    leaking = [replace(one, threads=one.threads + int(one.seconds / 3000)) for one in an_hour()]
    assert "13 threads" in growth(leaking, most_threads=12).wrong[0]


def test_a_slope_is_not_bent_by_outliers_and_knows_its_spread() -> None:
    times = [float(k) for k in range(12)]
    exact = slope(times, [3 * time + 1 for time in times])
    assert (exact.low, exact.middle, exact.high) == pytest.approx((3, 3, 3))
    assert slope(times, [1000 if time == 5 else 3 * time for time in times]).middle == pytest.approx(3)


def test_the_bounds_of_a_slope_hold_it_95_times_of_100() -> None:
    dice = random.Random(5)
    times = [float(k) for k in range(12)]
    lines = [slope(times, [3 * time + dice.gauss(0, 4) for time in times]) for _ in range(1000)]
    assert 920 < sum(line.low < 3 < line.high for line in lines) < 990


def test_this_process_can_be_sampled() -> None:
    found = sample(os.getpid(), seconds=1.0, ids=2, resting=False)
    assert found is not None
    assert 0 < found.anonymous < found.resident
    assert found.descriptors > 2
    assert found.threads >= threading.active_count()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in children(os.getpid())
        child.communicate(b"\n")
    assert child.pid not in children(os.getpid())
    assert sample(child.pid, seconds=1.0, ids=2, resting=False) is None


def held(ids: list[int], pictures: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(ids, np.int64), np.eye(4, dtype=np.float32)[pictures]


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.added([1, 2, 3, 4], {1: "a", 2: "b", 3: "a", 4: "c"})
    dice = random.Random(1)
    while 4 not in (taken := ledger.take_stored(dice, 1)):
        ledger.give_back(taken)
    ledger.deleted(taken)
    return ledger


def test_a_kept_ledger_names_no_losses(ledger: Ledger) -> None:
    assert ledger.losses(*held([1, 2, 3, 99], [0, 1, 0, 3])) == []


def test_a_lost_logo_is_named(ledger: Ledger) -> None:
    assert ledger.losses(*held([1, 3], [0, 0])) == ["lost 1 logos: [2]"]


def test_a_logo_stored_twice_is_named(ledger: Ledger) -> None:
    assert ledger.losses(*held([1, 2, 3, 3], [0, 1, 0, 0])) == ["stored twice: 1 logos"]


def test_a_deleted_logo_that_is_back_is_named(ledger: Ledger) -> None:
    assert ledger.losses(*held([1, 2, 3, 4], [0, 1, 0, 2])) == ["deleted, and back again: [4]"]


def test_an_embedding_of_another_picture_is_named(ledger: Ledger) -> None:
    assert "has the embedding of another picture" in ledger.losses(*held([1, 2, 3], [0, 1, 1]))[0]


def test_a_logo_in_the_hands_of_a_client_is_not_judged(ledger: Ledger) -> None:
    taken = ledger.take_stored(random.Random(1), 3)
    assert sorted(taken) == [1, 2, 3]
    assert ledger.losses(*held([], [])) == []
    ledger.give_back(taken)
    assert ledger.losses(*held([], [])) == ["lost 3 logos: [1, 2, 3]"]


def test_an_answer_is_missed_unless_a_restart_explains_it() -> None:
    done = [(100.0, "kill")]
    near = Record(unanswered=[(100.0 + EXPLAINED_SECONDS / 2, 125.0, "near")])
    before = Record(unanswered=[(80.0, 99.0, "before")])
    far = Record(unanswered=[(101.0 + EXPLAINED_SECONDS, 150.0, "far")])
    assert judge_answers(near, done).losses == []
    assert [len(judge_answers(record, done).losses) for record in (before, far)] == [1, 1]


def test_a_traceback_in_the_log_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("good\nTraceback (most recent call last):\n")
    assert judge_log(path, 0).losses == ["line 2 of the log begins a traceback"]
    path.write_text("good\n")
    assert judge_log(path, 0).losses == []
    assert judge_log(path, -9).losses == ["the service ended with -9"]


def test_between_the_reloads_the_older_worker_lives_for_most_of_the_run() -> None:
    for seconds in (10.0, 600.0, HOUR, 10 * HOUR):
        events = plan(seconds)
        assert events == sorted(events)
        reloads = [at for at, event in events if event == "reload"]
        assert reloads[1] - reloads[0] > 0.8 * seconds
        assert any(event == "kill" for _, event in events)


class QuietServer(http.server.ThreadingHTTPServer):
    """Does not log clients that disconnect."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


class Liar:
    """A service on loopback that gives the same answer to every request."""

    def __init__(self, status: int, media: object) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = json.dumps(media).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names of http.server

        self.server = QuietServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Liar:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def what_a_client_says(status: int, media: object, ledger: Ledger) -> list[str]:
    """Let a client send each kind of request to a liar once, and return what it found wrong."""
    ledger.added(range(100, 200), dict.fromkeys(range(100, 200), "a"))
    record = Record()
    pictures = Pictures({}, {"/1.jpg": [BOX]})
    with Liar(status, media) as liar:
        client = Client(
            liar.base, lambda path: f"http://x{path}", pictures, ledger, record, seed=1, pause=0.0, most_logos=999
        )
        for task in client.tasks:
            client.do(task)
        client.close()
    return sorted(wrong.split(":")[0] for wrong in record.wrong)


def test_a_client_reports_every_unexpected_status(ledger: Ledger) -> None:
    everything = ["add deleted", "add known", "add new", "bad request", "batch", "by id", "by id, just stored"]
    everything += ["by unknown id", "count", "delete", "from_embedding", "random", "stored"]
    media = {"results": {}, "count": 1000, "stored": [*range(200)]}
    found = what_a_client_says(503, media, ledger)
    assert sorted(set(found)) == everything


def test_a_client_reports_answers_that_are_wrong(ledger: Ledger) -> None:
    ledger.deleted([5])
    deleted = [{"logo_id": 5, "distance": 0.0}]
    media = {"added": 7, "results": deleted, "count": 1, "stored": [1, 1]}
    found = what_a_client_says(200, media, ledger)
    assert set(found) >= {"add new", "add known", "by id", "random", "from_embedding", "count", "stored"}


def test_a_client_that_is_answered_rightly_reports_nothing_of_it(ledger: Ledger) -> None:
    media = {"added": 0, "results": [], "count": 0}
    assert "random" not in what_a_client_says(200, media, ledger)


def test_a_soak_of_seconds_loses_nothing(tmp_path: Path) -> None:
    soak = run(
        tmp_path, seconds=5, clients=4, seed=1, pause=0.01, sample_seconds=0.1, rests=1, most_logos=20, photos_drawn=6
    )
    *verdicts, grown = soak.findings
    assert [finding.losses for finding in verdicts] == [[], [], [], []]
    assert [what for what in grown.losses if "descriptors" in what or "threads" in what] == []
    assert soak.record.statuses[200] > 0
    assert soak.events["reload"] > 0
    assert "verify" in soak.commands
    assert any(one.resting for samples in soak.samples.values() for one in samples)
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == sum(map(len, soak.samples.values()))
    assert "p99" in soak.tables()
