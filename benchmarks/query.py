"""`GET /ann/{id}?count=100` through HTTP, beside Annoy alone on the same logos.

Two connections are served faster by two workers than by one, and which worker takes a connection is up to the
kernel. So the clients connect anew after some queries, and a repetition sees many such draws.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from statistics import median

from annoy import AnnoyIndex

from benchmarks.fixture import COUNT, RELOAD, Fixture
from benchmarks.http_client import HttpClient, ask_in_turn, neighbours_request
from benchmarks.table import Ratio, Row, interleaved
from tests.end_to_end.service import Service

CLIENTS = 2
REACH = 0.8
QUERIES = 2000  # different ones, a client
QUERIES_A_CONNECTION = 50


def measure(fixture: Fixture) -> list[Row]:
    """Measure how many queries are answered a second."""
    indexed, scale = fixture.indexed, fixture.scale
    items = fixture.sample(CLIENTS * QUERIES)
    shares = [items[client::CLIENTS].tolist() for client in range(CLIENTS)]
    requests = [[neighbours_request(int(indexed.logo_ids[item]), COUNT) for item in share] for share in shares]
    annoy = fixture.bare_annoy()
    search_k = COUNT * scale.trees
    with (
        Service(indexed.data_dir, workers=2, **RELOAD) as service,
        ProcessPoolExecutor(CLIENTS, multiprocessing.get_context("spawn")) as processes,
        ThreadPoolExecutor(CLIENTS) as threads,
    ):

        def ours(seconds: float = scale.seconds) -> float:
            start = time.monotonic() + 0.1  # both processes have their orders by then
            clients = [
                processes.submit(ask_in_turn, service.port, share, QUERIES_A_CONNECTION, start, seconds)
                for share in requests
            ]
            return sum(client.result() for client in clients) / seconds

        def rival(seconds: float = scale.seconds) -> float:
            start = time.monotonic()
            loops = [threads.submit(_search_in_turn, annoy, share, search_k, start, seconds) for share in shares]
            return sum(loop.result() for loop in loops) / seconds

        list(processes.map(time.sleep, [1] * CLIENTS))  # each process starts, and is busy while the other does
        _check_answers(service.port, requests[0][:20], annoy, shares[0][:20], search_k, indexed.logo_ids.tolist())
        for warm_up in (ours, rival):
            warm_up(2 * scale.seconds)
        fixture.say("queries: service and bare Annoy in turns")
        served, searched = interleaved(scale.repetitions, ours, rival)
    ratio = Ratio.of(served, searched)
    return [
        Row(
            f"`GET /ann/{{id}}?count={COUNT}` of {scale.logos:,} logos: two clients, two workers,"
            f" connections kept for {QUERIES_A_CONNECTION} queries",
            f"{median(served):,.0f}/s",
            f"{median(searched):,.0f}/s, bare Annoy loop in two threads, no HTTP, {scale.trees} trees",
            ratio,
            f"{REACH} of it",
            ratio.median >= REACH,
        )
    ]


def _search_in_turn(annoy: AnnoyIndex, items: Sequence[int], search_k: int, start: float, seconds: float) -> int:
    for searched, item in enumerate(itertools.cycle(items)):
        annoy.get_nns_by_item(item, COUNT, search_k, include_distances=True)
        if time.monotonic() > start + seconds:
            return searched
    return 0


def _check_answers(
    port: int, requests: Sequence[bytes], annoy: AnnoyIndex, items: Sequence[int], search_k: int, logo_ids: list[int]
) -> None:
    """Make sure that both search the same logos: each finds some that the other misses, but most are the same."""
    same = 0
    with HttpClient(port) as client:
        for request, item in zip(requests, items, strict=True):
            served = {row["logo_id"] for row in json.loads(client.ask(request))["results"]}
            same += len(served & {logo_ids[found] for found in annoy.get_nns_by_item(item, COUNT, search_k)})
    assert same > 0.8 * len(requests) * min(COUNT, len(logo_ids))
