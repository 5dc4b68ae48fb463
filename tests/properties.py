"""How often a property is tried: in the suite the same few times always, on demand more, and other ones each time.

`PROPERTY_EXAMPLES=100 python -m pytest tests/embeddings/store/test_store_properties.py` tries a hundred times as many.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_TIMES = int(os.environ.get("PROPERTY_EXAMPLES", "1"))


def examples(count: int, steps: int = 50) -> settings:
    """Return the settings of a property that the suite tries `count` times (with `steps` steps if it has steps)."""
    return settings(
        max_examples=count * _TIMES,
        stateful_step_count=steps,
        deadline=None,
        derandomize=_TIMES == 1,
        database=None,
        print_blob=True,
        # A busy machine is no fault of a test, and a fixture that lasts for all examples is meant to.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )
