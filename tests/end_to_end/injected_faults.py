"""Inject faults of disk and clock into a service, without root, by a preloaded library."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


class InjectedFaults:
    """Compiles the library. `environment` preloads it, and the methods switch faults on and off.

    Args:
        folder: an empty folder for the library and its switches.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None or sys.platform != "linux":
            pytest.skip("injecting faults takes Linux and a C compiler")
        self._folder = folder
        library = folder / "faults.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "INJECTED_FAULTS": str(folder)}

    @contextmanager
    def failing(
        self, call: str, error: int, name: str = ".hdf5", *, first: int = 0, last: int = 2**62, once: bool = False
    ) -> Iterator[None]:
        """Make a call fail with an errno, for files with this suffix and this range of their bytes."""
        with self._switch(call, f"{error} {name} {first} {last} {int(once)}"):
            yield

    @contextmanager
    def hanging(self, call: str, name: str = ".hdf5") -> Iterator[None]:
        """Make the next such call hang until the end of the block, or until `release`."""
        with self._switch(call, f"0 {name} 0 {2**62} 1"):
            try:
                yield
            finally:
                self.release(call)

    def hangs(self, call: str) -> bool:
        """Return whether a call is hanging."""
        return (self._folder / f"{call}.hung").exists()

    def release(self, call: str) -> None:
        """Release the hanging call."""
        (self._folder / f"{call}.hung").unlink(missing_ok=True)

    @contextmanager
    def shifted_clock(self, seconds: int) -> Iterator[None]:
        """Move the clock forwards or backwards."""
        with self._switch("clock", str(seconds)):
            yield

    @contextmanager
    def _switch(self, call: str, text: str) -> Iterator[None]:
        switch = self._folder / call
        draft = self._folder / f"{call}.draft"
        draft.write_text(text)
        draft.rename(switch)
        try:
            yield
        finally:
            switch.unlink(missing_ok=True)
