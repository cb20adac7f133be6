"""How fast a model is on its device now, told apart from how its periods scatter.

One p95 is an estimate from the answers of one period, and scatters. What lies within the
scatter of the periods before is taken together with them; what lies beyond it is a change,
and counts in full and at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from secateur_protocols.telemetry import ModelTelemetry

RECENT_PERIODS = 6
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


@dataclass(frozen=True, slots=True)
class Pace:
    """What the running level takes now.

    Attributes:
        now_ms: p95, without the scatter of one period.
        scatter: Standard deviation of log p95 from period to period.
    """

    now_ms: float
    scatter: float


def pace_of(measured: ModelTelemetry) -> Pace | None:
    """Find the pace from a model's telemetry; ``None``: it has not answered."""
    newest_ms = measured.p95_ms
    if newest_ms is None:
        return None
    logs = [math.log(each) for each in measured.recent_p95_ms if each > 0]
    if newest_ms <= 0 or len(logs) < 2:  # noqa: PLR2004 - one is nothing to compare with
        return Pace(newest_ms, USUAL_SCATTER)
    scatter = _scatter(logs)
    *before, newest = logs[-RECENT_PERIODS:]
    if abs(newest - _median(before)) > min(CHANGE_DEVIATIONS * scatter, MOST_SCATTER):
        return Pace(newest_ms, scatter)
    return Pace(math.exp(_median([*before, newest])), scatter)


def _scatter(logs: Sequence[float]) -> float:
    """Say how much log p95 scatters from period to period.

    From differences of neighbours: a change of load in between is one large difference, which
    the median leaves out.
    """
    differences = [abs(later - earlier) for earlier, later in pairwise(logs)]
    own = _median(differences) / DIFFERENCE_TO_SCATTER
    count = len(differences)
    return (count * own + USUAL_WEIGHT * USUAL_SCATTER) / (count + USUAL_WEIGHT)


def _median(values: Sequence[float]) -> float:
    """Like `statistics.median`, which takes several times as long; each message asks."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
