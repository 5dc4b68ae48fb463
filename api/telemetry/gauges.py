"""The state of the service when Prometheus scrapes it: logos, rows, indexes, readiness.

The worker that is scraped reads the state itself, so the values are right with any number of workers. A value that
cannot be read is left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.journeys.collections import Collection, Collections
from api.journeys.health import Health
from api.telemetry.metrics import PREFIX
from embeddings.errors import EmbeddingsError
from embeddings.store.seen_rows import SeenRows
from index.errors import SearchError
from index.status import IndexStatus

Sample = tuple[dict[str, str], float]


class Gauges(Collector):
    """Collects the state of the service.

    Args:
        collections: all of them; those that no request has named yet are opened.
        health: the checks of the service.
        build: the labels of `build_info`: version, revision, model, ...
    """

    def __init__(self, collections: Collections, health: Health, build: dict[str, str]) -> None:
        self._collections = collections
        self._health = health
        self._build = build

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the state."""
        yield _gauge("build_info", "Version, revision, model, weights and Python of the service.", [(self._build, 1)])
        each = [*self._collections.each()]
        opened = [collection for _, collection in each if isinstance(collection, Collection)]
        stored: dict[str, int] = {}
        rows: dict[str, SeenRows] = {}
        for collection in opened:
            with suppress(EmbeddingsError):
                stored[collection.name], rows[collection.name] = len(collection.store), collection.store.seen()
        yield from _of_stores(stored, rows)
        with suppress(OSError):
            disk = os.statvfs(self._collections.default.store.path)
            yield _gauge("disk_free_bytes", "Free space on the store's disk.", [({}, disk.f_bavail * disk.f_frsize)])
        yield from _of_indexes(opened, stored, [name for name, found in each if isinstance(found, EmbeddingsError)])
        checks = self._health.readiness()
        yield _gauge("ready", "1 if the next query would succeed.", [({}, all(check.ok for check in checks))])
        yield _gauge("check", "1 if a check of /readyz passes.", [({"check": c.name}, c.ok) for c in checks])


def _of_stores(stored: Mapping[str, int], rows: Mapping[str, SeenRows]) -> Iterator[GaugeMetricFamily]:
    counts = [({"index": name}, count) for name, count in stored.items()]
    capacity = [({"index": name}, seen.file.capacity) for name, seen in rows.items()]
    left = [({"index": name}, seen.file.capacity - seen.end) for name, seen in rows.items()]
    yield _gauge("logos_stored", "Logos in the store.", counts)
    yield _gauge("store_capacity_rows", "Rows of the store, used or free.", capacity)
    yield _gauge("store_rows_left", "Rows of the store that are free.", left)


def _of_indexes(
    collections: Iterable[Collection], stored: Mapping[str, int], unusable: Iterable[str]
) -> Iterator[GaugeMetricFamily]:
    """Yield the gauges of all indexes; those of collections that cannot be opened count as broken."""
    statuses = [(collection, status) for collection in collections for status in collection.catalog.status()]
    named = [({"index": status.name}, status) for _, status in statuses]
    built = [(label, status.built_at.timestamp()) for label, status in named if status.built_at is not None]
    yield _gauge("logos_indexed", "Logos in the index.", [(label, status.items) for label, status in named])
    backlogs = [
        ({"index": status.name}, _backlog_of(collection, status, stored[collection.name]))
        for collection, status in statuses
        if collection.name in stored
    ]
    yield _gauge(
        "logos_waiting",
        "Stored logos that are not yet indexed.",
        [(label, count) for label, count in backlogs if count is not None],
    )
    yield _gauge("index_generation_timestamp_seconds", "Time at which the index that is served was built.", built)
    ages = [(label, max(0.0, time.time() - at)) for label, at in built]
    yield _gauge("index_age_seconds", "Age of the index that is served.", ages)
    yield _gauge(
        "index_recall",
        "Share of the true nearest logos that the index finds, measured when it was built.",
        [
            ({**label, "at": at}, value)
            for label, status in named
            if status.recall is not None
            for at, value in (("10", status.recall.at_10), ("100", status.recall.at_100))
        ],
    )
    yield _gauge(
        "index_broken",
        "1 if the newest files of the index cannot be served.",
        [(label, status.error is not None) for label, status in named] + [({"index": name}, 1) for name in unusable],
    )


def _backlog_of(collection: Collection, status: IndexStatus, stored: int) -> int | None:
    try:
        return collection.backlog.count(collection.catalog.get(status.name), stored=stored)
    except (SearchError, EmbeddingsError):
        return None


def _gauge(name: str, help_text: str, samples: Iterable[Sample]) -> GaugeMetricFamily:
    samples = list(samples)
    labels = list(samples[0][0]) if samples else []
    family = GaugeMetricFamily(f"{PREFIX}{name}", help_text, labels=labels)
    for values, value in samples:
        family.add_metric([values[label] for label in labels], float(value))
    return family
