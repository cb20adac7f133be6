"""Whether one share is smaller than another, and how surely: two counts of yes and no."""

from math import sqrt
from typing import NamedTuple

Z = 3.0
"""Standard deviations that a difference must be sure by. One look in 700 would exceed it by
chance; it is that strict because a rollout looks again with every message."""


class Counted(NamedTuple):
    """So many of so many."""

    hits: int
    total: int

    @property
    def share(self) -> float:
        """As a share; of nothing it is 0."""
        return self.hits / self.total if self.total else 0.0


def interval(counted: Counted, z: float = Z) -> tuple[float, float]:
    """Give the interval that holds the true share, also near 0 and 1.

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference",
        Journal of the American Statistical Association 22, 1927.
    """
    n, p = counted.total, counted.share
    if n == 0:
        return 0.0, 1.0
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def least_fall(before: Counted, after: Counted, z: float = Z) -> float:
    """Give the least fall of the share that the counts allow; negative: perhaps none.

    Source:
        Newcombe, "Interval estimation for the difference between independent proportions",
        Statistics in Medicine 17, 1998, method 10.
    """
    low_before, _ = interval(before, z)
    _, high_after = interval(after, z)
    fall = before.share - after.share
    return fall - sqrt((before.share - low_before) ** 2 + (high_after - after.share) ** 2)
