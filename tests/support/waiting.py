"""Waits for a state, generously: the machine may be busy."""

import time
from collections.abc import Callable

WAIT_S = 90.0


def wait_until(holds: Callable[[], bool], *, timeout_s: float = WAIT_S) -> None:
    """Wait until something holds; fail when it does not in time."""
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.02)
