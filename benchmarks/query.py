"""`GET /ann/{id}?count=100` through HTTP, beside Annoy alone: on the same files, and at the same recall.

Two workers serve two connections faster than one does, and the kernel chooses which worker takes a connection. So the
clients reconnect after some queries, and a repetition sees many such choices.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from statistics import median

import numpy as np
from annoy import AnnoyIndex

from benchmarks.fixture import BARE, COUNT, RELOAD, Fixture
from benchmarks.http_client import HttpClient, ask_in_turn, neighbours_request
from benchmarks.rivals.vectors import count_found
from benchmarks.table import Ratio, Row, interleaved
from embeddings.store.store import EmbeddingStore
from index.exact import ExactIndex
from settings import Settings
from tests.end_to_end.service import Service

CLIENTS = 2
REACH = 0.8
QUERIES = 2000  # different ones, a client
QUERIES_A_CONNECTION = 50
SAMPLE = 100  # queries to measure recall on


def measure(fixture: Fixture) -> list[Row]:
    """Measure how many queries are answered a second."""
    indexed, scale = fixture.indexed, fixture.scale
    items = fixture.sample(CLIENTS * QUERIES)
    shares = [items[client::CLIENTS].tolist() for client in range(CLIENTS)]
    annoy = fixture.bare_annoy()
    with (
        Service(indexed.data_dir, workers=2, **RELOAD) as service,
        ProcessPoolExecutor(CLIENTS, multiprocessing.get_context("spawn")) as processes,
        ThreadPoolExecutor(CLIENTS) as threads,
    ):

        def ours(index: str, seconds: float = scale.seconds) -> float:
            start = time.monotonic() + 0.1  # both processes have their requests by then
            clients = [
                processes.submit(
                    ask_in_turn,
                    service.port,
                    [neighbours_request(int(indexed.logo_ids[item]), COUNT, index) for item in share],
                    QUERIES_A_CONNECTION,
                    start,
                    seconds,
                )
                for share in shares
            ]
            return sum(client.result() for client in clients) / seconds

        def rival(search_k: int, seconds: float = scale.seconds) -> float:
            start = time.monotonic()
            loops = [threads.submit(_search_in_turn, annoy, share, search_k, start, seconds) for share in shares]
            return sum(loop.result() for loop in loops) / seconds

        list(processes.map(time.sleep, [1] * CLIENTS))  # starts each process while the other is busy
        rows = []
        about = (
            f"of {scale.logos:,} logos: two clients, two workers, connections kept for {QUERIES_A_CONNECTION} queries"
        )
        plain_k = COUNT * scale.trees
        recall, equal_k = _equal_effort(fixture, service.port, annoy, plain_k)
        for index, search_k, what, beside in (
            (
                BARE,
                plain_k,
                f"`GET /ann/{{id}}?count={COUNT}&index=...` {about}",
                f"the same files and effort, {scale.trees} trees",
            ),
            (
                Settings().default_index,
                equal_k,
                f"`GET /ann/{{id}}?count={COUNT}`, the index that is built by default, {about}",
                f"{scale.trees} trees, as many candidates as it takes for the same recall@{COUNT} of {recall:.3f}",
            ),
        ):
            for warm_up in (partial(ours, index), partial(rival, search_k)):
                warm_up(scale.seconds)
            fixture.say("queries: service and bare Annoy in turns")
            served, searched = interleaved(scale.repetitions, partial(ours, index), partial(rival, search_k))
            ratio = Ratio.of(served, searched)
            rows.append(
                Row(
                    what,
                    f"{median(served):,.0f}/s",
                    f"{median(searched):,.0f}/s, bare Annoy loop in two threads, no HTTP, {beside}",
                    ratio,
                    f"{REACH} of it",
                    ratio.median >= REACH,
                )
            )
    return rows


def _equal_effort(fixture: Fixture, port: int, annoy: AnnoyIndex, search_k: int) -> tuple[float, int]:
    """Return the service's recall by default, and the least effort with which Annoy reaches it."""
    indexed = fixture.indexed
    items = fixture.sample(SAMPLE).tolist()
    logo_ids = indexed.logo_ids.tolist()
    with EmbeddingStore(Settings(data_dir=indexed.data_dir).store_path, writable=False) as store:
        vectors = np.concatenate([block for _, block in store.snapshot().blocks()])[: len(logo_ids)]
    exact = ExactIndex(indexed.logo_ids, vectors)
    row_of = {logo_id: row for row, logo_id in enumerate(logo_ids)}
    truth = [[row_of[i] for i in exact.nearest_to_logo(logo_ids[item], COUNT).logo_ids] for item in items]

    def found_of(answers: Sequence[Sequence[int]]) -> int:
        return sum(
            count_found(vectors, vectors[item], answer, true)
            for item, answer, true in zip(items, answers, truth, strict=True)
        )

    with HttpClient(port) as client:
        answers = [json.loads(client.ask(neighbours_request(logo_ids[item], COUNT)))["results"] for item in items]
    found = found_of([[row_of[row["logo_id"]] for row in rows] for rows in answers])
    everything = annoy.get_n_items() * annoy.get_n_trees()
    while search_k < everything:
        nearest = [annoy.get_nns_by_item(item, COUNT, search_k) for item in items]
        if found_of(nearest) >= found:
            break
        search_k = int(1.2 * search_k)
    return found / sum(map(len, truth)), search_k


def _search_in_turn(annoy: AnnoyIndex, items: Sequence[int], search_k: int, start: float, seconds: float) -> int:
    for searched, item in enumerate(itertools.cycle(items)):
        annoy.get_nns_by_item(item, COUNT, search_k, include_distances=True)
        if time.monotonic() > start + seconds:
            return searched
    return 0
