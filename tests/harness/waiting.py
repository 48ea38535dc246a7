"""Owns waiting in tests: until a condition holds, and for how long at the most.

Nothing here sleeps for a fixed time to let something happen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 30.0
"""Seconds until a test gives up on something that should happen; not what is asserted."""

T = TypeVar("T")


def until(condition: Callable[[], T | None], seconds: float = PATIENCE, what: str = "") -> T:
    """Ask ``condition`` until it answers something true, and return that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.005)
