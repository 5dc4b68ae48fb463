"""Progress of the parts of a build."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

Stage = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Shows the progress of a part of a build. It is called with a description of the part and its number of steps, and
yields a function to call with the number of steps just done."""
