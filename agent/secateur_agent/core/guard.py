"""When a device steps down alone: limits, and readings that cross them.

The planner's limits, seen from the device itself: at once instead of once per period, and
with the broker down.
"""

from dataclasses import dataclass

from secateur_protocols.plain import ReasonCode

HOLD_S = 10.0
"""Between two steps of one model for heat, seconds: silicon cools that slowly."""

SETTLE_S = 1.0
"""Between two steps of one model for another reason, seconds: the first must have helped or
not before the next is justified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the device's configuration says.

    Attributes:
        memory_available_ratio: Of all memory; less is a crossing. 0: never.
        temperature_c: Of the hottest zone; more is a crossing, and so is throttling.
    """

    memory_available_ratio: float
    temperature_c: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was just measured. ``None``: no such sensor."""

    memory_available_ratio: float | None = None
    temperature_c: float | None = None
    is_throttled: bool | None = None


@dataclass(frozen=True, slots=True)
class Crossing:
    """A limit that is crossed now, and the numbers that say so."""

    reason: ReasonCode
    detail: str


def crossing(reading: Reading, limits: Limits) -> Crossing | None:
    """Say which limit of the whole device is crossed; memory first: it kills."""
    available, least = reading.memory_available_ratio, limits.memory_available_ratio
    if available is not None and available < least:
        detail = f"memory {available:.1%} available, limit {least:.1%}"
        return Crossing(ReasonCode.SLO_MEMORY, detail)
    hot_c, most_c = reading.temperature_c, limits.temperature_c
    if reading.is_throttled:
        return Crossing(ReasonCode.SLO_TEMPERATURE, "the processor is throttled")
    if hot_c is not None and hot_c > most_c:
        detail = f"{hot_c:.0f} C, limit {most_c:.0f} C"
        return Crossing(ReasonCode.SLO_TEMPERATURE, detail)
    return None


def is_due(crossed: Crossing, since_switch_s: float) -> bool:
    """Say whether a model that switched so long ago may step down for this."""
    is_heat = crossed.reason is ReasonCode.SLO_TEMPERATURE
    return since_switch_s >= (HOLD_S if is_heat else SETTLE_S)


MISS_WINDOW = 16
"""Answers that the share of late ones is taken of: at 30 Hz half a second."""

MISSES_MASK = (1 << MISS_WINDOW) - 1


def count_miss(recent: int, *, is_late: bool) -> int:
    """Add one answer to the last `MISS_WINDOW`, one bit each, the newest lowest."""
    return ((recent << 1) | is_late) & MISSES_MASK


def has_too_many_misses(recent: int, miss_ratio: float) -> bool:
    """Say whether more than this share of the last `MISS_WINDOW` answers were late."""
    return recent.bit_count() > miss_ratio * MISS_WINDOW
