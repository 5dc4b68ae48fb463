"""Fetching many images without harm to their hosts: a host that says "later" is left alone for as long as it says."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from urllib.parse import urlsplit

from embeddings.errors import HostBusyError, HostUnreachableError, ImageError

_MOST_TRIES = 6  # of one image whose host says "later" each time
_LONGEST_WAIT = 600.0  # seconds; a host that wants longer is left out
_FIRST_WAIT = 2.0  # seconds, of a host that does not say how long; twice as long after each try

log = logging.getLogger(__name__)


class PoliteFetcher:
    """Fetches images, but not for ever from a host that is gone, and no faster than a host wants. Threads share one.

    From the first "later" on, a host is asked for one image at a time, and by nobody until the time that it named.

    Args:
        fetch: returns the image at an address; raises ImageFetchError.
        give_up_after: times in a row that a host was not reached, or was busy throughout all tries, after which nothing
            more is fetched from it.
        wait: waits for some seconds; tells whether that was cut short.
        clock: in seconds.
    """

    def __init__(
        self,
        fetch: Callable[[str], bytes],
        *,
        give_up_after: int,
        wait: Callable[[float], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._most = give_up_after
        self._wait = wait
        self._clock = clock
        self._failures: Counter[str] = Counter()
        self._free_at: defaultdict[str, float] = defaultdict(float)
        self._turns: dict[str, threading.Lock] = {}

    def fetch(self, url: str) -> bytes:
        """Return the image at an address.

        Raises:
            HostUnreachableError: the host was given up, or cannot be reached.
            HostBusyError: the host still said "later" at the last try, or wants to be left alone for very long.
            ImageFetchError: the image cannot be fetched.
        """
        host = _host(url)
        if self._failures[host] >= self._most:
            raise HostUnreachableError(f"{host} was not reached {self._most} times in a row: given up for this run")
        try:
            data = self._fetch_in_turn(url, host)
        except (HostUnreachableError, HostBusyError):
            self._failures[host] += 1
            if self._failures[host] == self._most:
                log.warning("%s was not reached %d times in a row: leaving it out", host, self._most)
            raise
        except ImageError:
            self._failures[host] = 0  # it did answer
            raise
        self._failures[host] = 0
        return data

    def _fetch_in_turn(self, url: str, host: str) -> bytes:
        for tries in range(1, _MOST_TRIES + 1):
            with self._turns.get(host, nullcontext()):
                self._leave_alone(host)
                try:
                    return self._fetch(url)
                except HostBusyError as error:
                    seconds = _FIRST_WAIT * 2 ** (tries - 1) if error.retry_after is None else error.retry_after
                    self._free_at[host] = max(self._free_at[host], self._clock() + seconds)
                    if host not in self._turns:
                        log.warning("%s says that it is busy: asking it for one image at a time", host)
                        self._turns.setdefault(host, threading.Lock())
                    if tries == _MOST_TRIES or seconds > _LONGEST_WAIT:
                        raise
        raise AssertionError("the last try returns or raises")

    def _leave_alone(self, host: str) -> None:
        seconds = self._free_at[host] - self._clock()
        if seconds > _LONGEST_WAIT:
            raise HostBusyError(f"{host} asks to be left alone for {seconds:.0f} s: run this again then")
        if seconds > 0 and self._wait(seconds):
            raise HostBusyError(f"{host} asks to be left alone for {seconds:.0f} s, and the run was stopped")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
