"""Latencies in constant memory: ranks to within 0.8 %, however many were counted.

A histogram of the kind that HdrHistogram made known: each power of two is divided into as
many equal parts, so that the relative error is the same everywhere.
"""

PART_BITS = 7
PARTS = 1 << PART_BITS
"""Parts of each power of two: a value is known to within 1/128 of itself."""

MOST_US = 1 << 37
"""Longer latencies count as this, microseconds: a day and a half."""

_BUCKETS = (37 - PART_BITS + 1) * PARTS + 1


class Histogram:
    """Counts of latencies. Used by one thread at a time."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.total = 0

    def add(self, latency_us: int) -> None:
        """Count one latency, microseconds."""
        value = min(max(latency_us, 0), MOST_US)
        shift = value.bit_length() - PART_BITS - 1
        bucket = (shift << PART_BITS) + (value >> shift) if shift > 0 else value
        self._counts[bucket] += 1
        self.total += 1

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
        left = -int(-round(ratio * self.total, 9) // 1)
        for bucket, count in enumerate(self._counts):
            left -= count
            if left <= 0 and count:
                return _highest_us(bucket)
        return MOST_US


def _highest_us(bucket: int) -> int:
    """Give the largest value that falls into a bucket."""
    shift = max(0, (bucket >> PART_BITS) - 1)
    part = bucket - (shift << PART_BITS)
    return ((part + 1) << shift) - 1
