"""A build backend that refuses to build a package, and says how to run the service instead."""

from __future__ import annotations

import sys
from typing import NoReturn


def refuse(*_: object, **__: object) -> NoReturn:
    """End the build with one sentence."""
    sys.exit("robotoff-ann is an application, not a package: run it with `make run` or from its Docker image")


build_wheel = build_sdist = build_editable = refuse
get_requires_for_build_wheel = get_requires_for_build_sdist = get_requires_for_build_editable = refuse
