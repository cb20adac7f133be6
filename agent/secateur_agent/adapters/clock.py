"""The time: monotonic for durations, UTC for messages only."""

import time
from datetime import UTC, datetime


def monotonic_s() -> float:
    """Read the clock that never jumps, seconds from an unknown start."""
    return time.monotonic()


def utc_now() -> str:
    """Read the wall clock, ISO 8601. It may be wrong: order nothing by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
