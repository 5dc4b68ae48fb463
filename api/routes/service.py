"""The routes for operators: whether the service is alive, ready and healthy, and its metrics."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import falcon

from api.journeys.health import Check, Health
from api.telemetry.metrics import CONTENT_TYPE, Metrics


def _forbid_caching(resp: falcon.Response) -> None:
    resp.cache_control = ["no-store"]


def _all_ok(checks: Iterable[Check]) -> bool:
    return all(check.ok for check in checks)


@dataclass(frozen=True, slots=True)
class LiveResource:
    """`GET /livez`: whether the process answers at all."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return 200."""
        _forbid_caching(resp)
        resp.media = {"status": "alive"}

    on_head = on_get  # some monitors send HEAD


@dataclass(frozen=True, slots=True)
class ReadyResource:
    """`GET /readyz`: whether the next query would succeed."""

    health: Health

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return 200 or 503, with the result of each check."""
        checks = self.health.readiness()
        is_ready = _all_ok(checks)
        _forbid_caching(resp)
        resp.status = falcon.HTTP_OK if is_ready else falcon.HTTP_SERVICE_UNAVAILABLE
        resp.media = {
            "status": "ready" if is_ready else "not ready",
            "index_state": self.health.index_state(),
            "checks": _by_name(checks),
        }
        collections = self.health.of_collections()
        if collections:
            resp.media["collections"] = _by_name(collections)

    on_head = on_get  # some monitors send HEAD


@dataclass(frozen=True, slots=True)
class HealthResource:
    """`GET /api/v1/health`: whether everything works, adds included.

    The answer has the form of the py-healthcheck library, which Robotoff uses.
    """

    health: Health

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return 200 or 500, with the result of each check."""
        checks = self.health.all()
        is_healthy = _all_ok(checks)
        now = time.time()
        _forbid_caching(resp)
        resp.status = falcon.HTTP_OK if is_healthy else falcon.HTTP_INTERNAL_SERVER_ERROR
        resp.media = {
            "hostname": socket.gethostname(),
            "status": "success" if is_healthy else "failure",
            "timestamp": now,
            "results": [_result(check, now) for check in checks],
        }

    on_head = on_get  # some monitors send HEAD


@dataclass(frozen=True, slots=True)
class MetricsResource:
    """`GET /metrics`: the metrics, for Prometheus."""

    metrics: Metrics

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return the metrics in Prometheus' text format."""
        _forbid_caching(resp)
        resp.content_type = CONTENT_TYPE
        resp.data = self.metrics.render()

    on_head = on_get  # as monitors ask that want no body


def _by_name(checks: Iterable[Check]) -> dict[str, dict[str, Any]]:
    return {check.name: {"ok": check.ok, "detail": check.detail} for check in checks}


def _result(check: Check, now: float) -> dict[str, Any]:
    return {
        "checker": check.name,
        "output": check.detail,
        "passed": check.ok,
        "timestamp": now,
        "expires": now,  # the checks run again at each request
        "response_time": check.seconds,
    }
