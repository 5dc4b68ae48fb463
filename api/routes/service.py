"""The routes for whoever looks after the service: is it alive, ready and well, and what did it count?"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import falcon

from api.journeys.health import Check, Health
from api.telemetry.metrics import CONTENT_TYPE, Metrics


def _never_kept(resp: falcon.Response) -> None:
    resp.cache_control = ["no-store"]


def _all_ok(checks: Iterable[Check]) -> bool:
    return all(check.ok for check in checks)


@dataclass(frozen=True, slots=True)
class LiveResource:
    """`GET /livez`: does the process answer at all?"""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer that it does."""
        _never_kept(resp)
        resp.media = {"status": "alive"}

    on_head = on_get  # as monitors ask that want no body


@dataclass(frozen=True, slots=True)
class ReadyResource:
    """`GET /readyz`: would the first query be answered?"""

    health: Health

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 or 503, and why."""
        checks = self.health.readiness()
        is_ready = _all_ok(checks)
        _never_kept(resp)
        resp.status = falcon.HTTP_OK if is_ready else falcon.HTTP_SERVICE_UNAVAILABLE
        resp.media = {
            "status": "ready" if is_ready else "not ready",
            "index_state": self.health.index_state(),
            "checks": {check.name: {"ok": check.ok, "detail": check.detail} for check in checks},
        }

    on_head = on_get  # as monitors ask that want no body


@dataclass(frozen=True, slots=True)
class HealthResource:
    """`GET /api/v1/health`: is all well, adds too? In the form of the py-healthcheck library, which Robotoff uses."""

    health: Health

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 or 500, and why."""
        checks = self.health.wellness()
        is_well = _all_ok(checks)
        now = time.time()
        _never_kept(resp)
        resp.status = falcon.HTTP_OK if is_well else falcon.HTTP_INTERNAL_SERVER_ERROR
        resp.media = {
            "hostname": socket.gethostname(),
            "status": "success" if is_well else "failure",
            "timestamp": now,
            "results": [_result(check, now) for check in checks],
        }

    on_head = on_get  # as monitors ask that want no body


@dataclass(frozen=True, slots=True)
class MetricsResource:
    """`GET /metrics`: what was counted, for Prometheus."""

    metrics: Metrics

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the text."""
        _never_kept(resp)
        resp.content_type = CONTENT_TYPE
        resp.data = self.metrics.render()

    on_head = on_get  # as monitors ask that want no body


def _result(check: Check, now: float) -> dict[str, Any]:
    return {
        "checker": check.name,
        "output": check.detail,
        "passed": check.ok,
        "timestamp": now,
        "expires": now,  # it is found out anew each time
        "response_time": check.seconds,
    }
