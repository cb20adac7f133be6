"""What one device's own measurements say of its levels: a fold over its telemetry.

How levels compare on a device shows when it goes wider in calm: the median before and the
median after, minutes apart on the same machine. A step down teaches nothing: it happens
because latency has just risen, so the level before it would always look worse than it is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from secateur_protocols.ids import Digest
from secateur_protocols.telemetry import ModelTelemetry

SETTLED_PERIODS = 3
"""Periods whose median counts as what a level takes: one alone may be an outlier."""

MAX_GAP_PERIODS = 5
"""Measurements further apart than this do not compare: the load may have changed."""

MAX_SURPRISE = 0.3
"""How far one step may move what was known of it, in log latency: a burst that happens to
begin with a step must not make a level look twice as slow."""

GAIN = 0.3
"""The share of a surprise that is believed, once several steps agree."""

MAX_STEPS = 64
"""Steps remembered per device and model."""

TRIAL_PERIODS = 40
"""How long a device must stay at a wider level before going there counts as a success: heat
takes minutes to show."""

MAX_SETBACKS = 7
"""More do not make a device wait longer: in vain it is tried once in 64 times its patience."""

Step = tuple[Digest, Digest]
"""From one artifact to another."""


@dataclass(frozen=True, slots=True)
class Compared:
    """How two artifacts compare on one device.

    Attributes:
        log_ratio: ln(latency of the second / latency of the first).
        count: Steps that this rests on.
        boot: Of the last one; likewise ``sequence``, of its telemetry.
    """

    log_ratio: float
    count: int
    boot: int
    sequence: int


NO_STEPS: Mapping[Step, Compared] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Climb:
    """A step to a wider level that is being watched.

    Attributes:
        step: From where to where.
        before_ms: What the level before it took.
        known: What was known of this step until now.
    """

    step: Step
    before_ms: float
    known: Compared | None


class Experience(NamedTuple):
    """One model on one device.

    Made with each message, and so a tuple: a frozen dataclass takes three times as long.

    Attributes:
        digest: Of the artifact that ran last; likewise ``level``, ``boot``, ``sequence``.
        typical_ms: Median p95 of the periods since the last switch.
        periods: How many those are.
        compared: What steps have shown.
        has_climbed: It came to this level from a narrower one.
        setbacks: How often in a row it went wider and could not stay, for whatever reason.
    """

    digest: Digest
    level: int
    boot: int
    sequence: int
    typical_ms: float
    periods: int
    compared: Mapping[Step, Compared] = NO_STEPS
    climb: Climb | None = None
    has_climbed: bool = False
    setbacks: int = 0

    @property
    def is_settled(self) -> bool:
        """Whether ``typical_ms`` rests on enough periods to tell others about."""
        return self.periods >= SETTLED_PERIODS


def observe(
    known: Experience | None,
    measured: ModelTelemetry,
    *,
    boot: int,
    sequence: int,
    period_s: float,
) -> Experience | None:
    """Take one period into account.

    Returns:
        ``known`` where the period holds no measurement.
    """
    recent_ms = measured.recent_p95_ms
    if not measured.p95_ms or not recent_ms:
        return known
    has_climbed, setbacks = _look_back(known, measured, boot=boot, period_s=period_s)
    now = Experience(
        digest=measured.digest,
        level=measured.level,
        boot=boot,
        sequence=sequence,
        typical_ms=max(_median(recent_ms), 1e-6),
        periods=len(recent_ms),
        compared=NO_STEPS if known is None else known.compared,
        climb=None if known is None else known.climb,
        has_climbed=has_climbed,
        setbacks=setbacks,
    )
    if known is None:
        return now
    if known.digest != now.digest:
        now = now._replace(climb=_begin_climb(known, now))
    return now if now.climb is None else _watch(now, now.climb)


def _look_back(
    known: Experience | None, measured: ModelTelemetry, *, boot: int, period_s: float
) -> tuple[bool, int]:
    """Say whether the device came here from a narrower level, and its setbacks until now."""
    if known is None or known.boot != boot:
        return False, 0
    if known.digest == measured.digest:
        if len(measured.recent_p95_ms) < known.periods:
            # It began anew at the same level: it was elsewhere and back within a period. By
            # itself a device goes narrower only, so elsewhere was wider.
            return False, min(MAX_SETBACKS, known.setbacks + 1)
        is_success = known.has_climbed and measured.since_switch_s >= TRIAL_PERIODS * period_s
        return known.has_climbed and not is_success, 0 if is_success else known.setbacks
    if measured.level < known.level:
        return True, known.setbacks
    is_setback = known.has_climbed
    return False, min(MAX_SETBACKS, known.setbacks + is_setback)


def _begin_climb(known: Experience, now: Experience) -> Climb | None:
    is_wider = now.level < known.level
    is_near = now.boot == known.boot and now.sequence - known.sequence <= MAX_GAP_PERIODS
    if not (is_wider and is_near):
        return None
    step = (known.digest, now.digest)
    return Climb(step, known.typical_ms, known.compared.get(step))


def _watch(now: Experience, climb: Climb) -> Experience:
    """Compare again with each period; after a few, what was seen stands."""
    if now.periods > SETTLED_PERIODS or now.digest != climb.step[1]:
        return now._replace(climb=None)
    seen = math.log(now.typical_ms / climb.before_ms)
    compared = Compared(*_believe(climb.known, seen), now.boot, now.sequence)
    # The newest step last, so that the oldest are the ones to go.
    others = {step: value for step, value in now.compared.items() if step != climb.step}
    kept = dict(islice(others.items(), max(0, len(others) - MAX_STEPS + 1), None))
    return now._replace(compared={**kept, climb.step: compared})


def _believe(known: Compared | None, seen: float) -> tuple[float, int]:
    if known is None:
        return seen, 1
    surprise = max(-MAX_SURPRISE, min(MAX_SURPRISE, seen - known.log_ratio))
    gain = max(GAIN, 1 / (known.count + 1))
    return known.log_ratio + gain * surprise, known.count + 1


def _median(values: Sequence[float]) -> float:
    """Like `statistics.median`, which takes several times as long; each message asks."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
