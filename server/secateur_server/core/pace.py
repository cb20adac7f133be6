"""How fast a model is on its device now, told apart from how its periods scatter.

One p95 is an estimate from the answers of one period, and scatters. What lies within the
scatter of the periods before is taken together with them; what lies beyond it is a change,
and counts in full and at once.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from secateur_protocols.telemetry import ModelTelemetry

RECENT_PERIODS = 12
"""Periods taken together: enough to even out, few enough that the load is the same."""

CHANGE_DEVIATIONS = 3.0
"""A period so many deviations from those before it is a change and no scatter."""

MOST_SCATTER = 0.25
"""Of log p95: a period further from those before it is a change, however restless a device
has been. So what it costs to be late is seen at once."""

USUAL_SCATTER = 0.05
"""Of log p95 from period to period, where a device has not yet shown its own."""

USUAL_WEIGHT = 4
"""How many own differences the usual scatter weighs: a few may agree by chance."""

DIFFERENCE_TO_SCATTER = 0.954
"""Median absolute difference of neighbours over the standard deviation, normal noise."""


class Pace(NamedTuple):
    """What the running level takes now.

    Attributes:
        now_ms: p95, without the scatter of one period.
        scatter: Standard deviation of log p95 from period to period.
    """

    now_ms: float
    scatter: float


def pace_of(measured: ModelTelemetry) -> Pace | None:
    """Find the pace from a model's telemetry; ``None``: it has not answered."""
    newest_ms, recent_ms = measured.p95_ms, measured.recent_p95_ms
    if newest_ms is None:
        return None
    if 0.0 in recent_ms:
        recent_ms = tuple(each for each in recent_ms if each > 0)
    if newest_ms <= 0 or len(recent_ms) < 2:  # noqa: PLR2004 - one is nothing to compare with
        return Pace(newest_ms, USUAL_SCATTER)
    scatter = _scatter(recent_ms)
    together_ms = sorted(recent_ms[-RECENT_PERIODS:])
    now_ms, last_ms = _middle(together_ms), recent_ms[-1]
    together_ms.remove(last_ms)
    change = last_ms / _middle(together_ms)
    if abs(math.log(change)) > min(CHANGE_DEVIATIONS * scatter, MOST_SCATTER):
        return Pace(newest_ms, scatter)
    return Pace(now_ms, scatter)


def _scatter(recent_ms: Sequence[float]) -> float:
    """Say how much log p95 scatters from period to period.

    From differences of neighbours: a change of load in between is one large difference, which
    the median leaves out.
    """
    ratios = sorted(
        [
            later / earlier if later > earlier else earlier / later
            for earlier, later in pairwise(recent_ms)
        ]
    )
    own = math.log(_middle(ratios)) / DIFFERENCE_TO_SCATTER
    count = len(ratios)
    return (count * own + USUAL_WEIGHT * USUAL_SCATTER) / (count + USUAL_WEIGHT)


def _middle(ordered: Sequence[float]) -> float:
    """Give the value whose logarithm is the median of the logarithms, taking none of them.

    Each message asks for three, and a logarithm of each period is most of what that takes.
    """
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return math.sqrt(ordered[middle - 1]) * math.sqrt(ordered[middle])
