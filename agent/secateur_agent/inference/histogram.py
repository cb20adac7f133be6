"""Latencies in constant memory: ranks to within 0.8 %, however many were counted.

A histogram of the kind that HdrHistogram made known: each power of two is divided into as
many equal parts, so that the relative error is the same everywhere.
"""

from collections.abc import Sequence

import numpy as np

PART_BITS = 7
PARTS = 1 << PART_BITS
"""Parts of each power of two: a value is known to within 1/128 of itself."""

MOST_US = 1 << 37
"""Longer latencies count as this, microseconds: a day and a half."""

_BUCKETS = (37 - PART_BITS + 1) * PARTS + 1


class Histogram:
    """Counts of latencies. Used by one thread at a time."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.int64)
        self.total = 0

    def add(self, latencies_us: Sequence[float]) -> None:
        """Count latencies, microseconds; of many at a time each takes a few nanoseconds."""
        values = np.clip(np.asarray(latencies_us, np.float64), 0, MOST_US).astype(np.int64)
        _, bits = np.frexp(values)  # of a whole number: how many bits it has
        shifts = np.maximum(bits - PART_BITS - 1, 0)
        buckets = (shifts << PART_BITS) + (values >> shifts)
        self._counts += np.bincount(buckets, minlength=_BUCKETS)
        self.total += len(values)

    def rank_us(self, ratio: float) -> int:
        """Give the nearest rank: at least ``ratio`` of all latencies do not exceed it.

        Args:
            ratio: In (0, 1].

        Returns:
            Microseconds, at most 1/128 too much and never too little.

        Raises:
            ValueError: Nothing was counted.
        """
        if not self.total:
            msg = "no latency was counted"
            raise ValueError(msg)
        # Rounded first, as `core.window.nearest_rank` does and for the same reason.
        rank = max(1, -int(-round(ratio * self.total, 9) // 1))
        return _highest_us(int(np.searchsorted(self._counts.cumsum(), rank)))


def _highest_us(bucket: int) -> int:
    """Give the largest value that falls into a bucket."""
    shift = max(0, (bucket >> PART_BITS) - 1)
    part = bucket - (shift << PART_BITS)
    return ((part + 1) << shift) - 1
