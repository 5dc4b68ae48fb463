"""A busy host is left alone for as long as it says, and asked for one image at a time from then on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from embeddings.errors import HostBusyError, HostUnreachableError, ImageFetchError
from embeddings.maintenance.polite_fetcher import PoliteFetcher

URL = "https://busy.example/1.jpg"


class Time:
    """Passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self.is_stopped = False

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return self.is_stopped


class Host:
    """Answers each fetch with the next of some answers, and with an image after them."""

    def __init__(self, *answers: Exception) -> None:
        self.answers: Iterator[Exception] = iter(answers)
        self.asked = 0

    def fetch(self, url: str) -> bytes:
        self.asked += 1
        for answer in self.answers:
            raise answer
        return b"image"


def busy(seconds: int | None = None) -> HostBusyError:
    return HostBusyError("later", seconds)


def polite(host: Host, passing: Time, give_up_after: int = 100) -> PoliteFetcher:
    return PoliteFetcher(host.fetch, give_up_after=give_up_after, wait=passing.wait, clock=lambda: passing.now)


def test_a_host_is_left_alone_for_as_long_as_it_says() -> None:
    passing = Time()
    assert polite(Host(busy(30), busy(0), busy(7)), passing).fetch(URL) == b"image"
    assert passing.waits == [30, 7]


def test_a_host_that_does_not_say_how_long_is_left_alone_for_longer_each_time() -> None:
    passing = Time()
    assert polite(Host(*[busy()] * 5), passing).fetch(URL) == b"image"
    assert passing.waits == [2, 4, 8, 16, 32]


def test_other_images_of_the_host_wait_too_and_other_hosts_do_not() -> None:
    passing, host = Time(), Host(*[busy(60)] * 6)
    fetcher = polite(host, passing)
    with pytest.raises(HostBusyError):
        fetcher.fetch(URL)
    passing.waits.clear()
    assert fetcher.fetch("https://other.example/1.jpg") == b"image"
    assert passing.waits == []
    assert fetcher.fetch("https://BUSY.example/2.jpg") == b"image"
    assert passing.waits == [60]


def test_an_image_is_given_up_after_some_tries_and_the_host_after_some_images() -> None:
    host = Host(*[busy(1)] * 100)
    fetcher = polite(host, Time(), give_up_after=3)
    for _ in range(3):
        with pytest.raises(HostBusyError):
            fetcher.fetch(URL)
    asked = host.asked
    with pytest.raises(HostUnreachableError, match=r"busy\.example was not reached 3 times in a row"):
        fetcher.fetch(URL)
    assert (asked, host.asked) == (18, 18)


def test_a_host_that_wants_to_be_left_alone_for_very_long_is_not_waited_for() -> None:
    passing, host = Time(), Host(busy(86_400))
    fetcher = polite(host, passing)
    with pytest.raises(HostBusyError):
        fetcher.fetch(URL)
    with pytest.raises(HostBusyError, match="left alone for 86400 s: run this again then"):
        fetcher.fetch(URL)
    assert (passing.waits, host.asked) == ([], 1)


def test_nobody_waits_once_the_run_is_stopped() -> None:
    passing, host = Time(), Host(busy(500))
    passing.is_stopped = True
    with pytest.raises(HostBusyError, match="the run was stopped"):
        polite(host, passing).fetch(URL)
    assert host.asked == 1


def test_an_image_that_the_host_has_not_is_asked_for_once() -> None:
    passing, host = Time(), Host(ImageFetchError("404"))
    with pytest.raises(ImageFetchError):
        polite(host, passing).fetch(URL)
    assert (host.asked, passing.waits) == (1, [])


def test_a_busy_host_is_asked_for_one_image_at_a_time() -> None:
    passing = Time()
    lock = threading.Lock()
    under_way, most, calls = 0, 0, 0

    def fetch(url: str) -> bytes:
        nonlocal under_way, most, calls
        with lock:
            calls += 1
            under_way += 1
            most = max(most, under_way) if calls > 1 else 0
            is_first = calls == 1
        try:
            if is_first:
                raise busy(1)
            for _ in range(50):
                os.sched_yield()
            return b"image"
        finally:
            with lock:
                under_way -= 1

    fetcher = PoliteFetcher(fetch, give_up_after=9, wait=passing.wait, clock=lambda: passing.now)
    assert fetcher.fetch(URL) == b"image"
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(fetcher.fetch, [URL] * 20)) == [b"image"] * 20
    assert most == 1
