"""Output of compiled libraries on standard error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embeddings.model.native_output import caught_stderr

DESCRIPTORS = Path("/proc/self/fd")


def test_output_inside_the_block_is_captured_and_later_output_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    with caught_stderr() as lines:
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'one\\ntwo \\xff')"], check=True)
        os.write(2, b"three")
    os.write(2, b"after")
    assert lines == ["one", "two \N{REPLACEMENT CHARACTER}three"]
    assert capfd.readouterr().err == "after"


def test_standard_error_is_restored_after_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    descriptors = len([*DESCRIPTORS.iterdir()])
    with pytest.raises(KeyError), caught_stderr():
        raise KeyError
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
    assert len([*DESCRIPTORS.iterdir()]) == descriptors
