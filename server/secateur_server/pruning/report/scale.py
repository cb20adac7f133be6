"""From numbers to places on paper: an axis with round ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Between ticks, times a power of ten."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear axis.

    Attributes:
        low: The number at ``start``.
        high: The number at ``end``; above ``low``.
        start: Coordinate, in the drawing's units.
        end: Likewise; below ``start`` for an axis that points up.
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Give the coordinate of a number; what lies outside is put on the edge."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def fit(values: Iterable[float], *, start: float, end: float, from_zero: bool = False) -> Scale:
    """Make an axis that holds all finite values and begins and ends at a tick."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    low = min(low, 0.0) if from_zero else low
    if high - low < 1e-12 * max(1.0, abs(high)):
        high = low + max(abs(low) * 0.1, 1e-9)
    step = _step(high - low)
    # A tick may come out beside its round number by the last bit: the values are inside all
    # the same.
    first, last = math.floor(low / step) * step, math.ceil(high / step) * step
    return Scale(min(first, low), max(last, high), start, end)


def ticks(scale: Scale) -> list[float]:
    """Give round numbers along an axis, both ends included."""
    step = _step(scale.high - scale.low)
    count = round((scale.high - scale.low) / step)
    return [scale.low + k * step for k in range(count + 1)]


def _step(span: float, most: int = 6) -> float:
    power = 10.0 ** math.floor(math.log10(span / most))
    return next((s * power for s in STEPS if span / (s * power) <= most), 10 * power)
