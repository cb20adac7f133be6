"""Which level fits a device now: the most accurate one that its limits allow.

A pure function of one telemetry message, the ladder, the policy and the level desired
last. Down at once, up only after patience:

    no measurement yet            the level desired last, else the narrowest
    pinned                        the pinned level
    too hot                       one level narrower per period; warm: nothing wider
    p95 > deadline                at once the most accurate narrower level whose predicted
                                  p95 leaves the headroom free
    the worst of the last `patience` periods, predicted for a wider level, leaves the
    headroom free                 the most accurate such level
    nothing fits                  the narrowest allowed level, marked infeasible
"""

from collections.abc import Iterable
from dataclasses import dataclass

from secateur_protocols.manifest import Ladder, Manifest
from secateur_protocols.telemetry import ModelTelemetry, Resources
from secateur_server.core.beliefs import predict_p95_ms
from secateur_server.core.policy import Policy

WARM_C = 80.0
"""Nothing goes wider above this: a Raspberry Pi begins to throttle here."""

HOT_C = 85.0
"""One level narrower per period above this: a Raspberry Pi's hard limit."""

MEMORY_SHARE = 0.9
"""Share of the available memory that a level may take."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one model on one device should run, and why.

    Attributes:
        level: In the ladder.
        reason: In words and numbers.
        is_infeasible: Nothing fits; ``level`` is the least bad and ``reason`` names the
            limit that binds.
    """

    level: int
    reason: str
    is_infeasible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a decision depends on.

    Attributes:
        measured: The model's part of the newest telemetry. ``None``: none yet, or of
            another ladder.
        desired: The level desired last of this ladder. ``None``: none yet.
    """

    ladder: Ladder
    policy: Policy
    resources: Resources
    measured: ModelTelemetry | None
    desired: int | None


def decide(situation: Situation) -> Decision:
    """Choose the level of one model on one device."""
    pinned = situation.policy.pinned_level
    if pinned is not None:
        level = min(pinned, len(situation.ladder.levels) - 1)
        return Decision(level, f"pinned to level {level}")
    measured, running = situation.measured, _running(situation)
    if measured is None or running is None:
        return _begin(situation)
    return _continue(situation, running, measured)


def _continue(situation: Situation, running: int, measured: ModelTelemetry) -> Decision:
    ladder, policy = situation.ladder, situation.policy
    if measured.p95_ms is None:
        held = running if situation.desired is None else situation.desired
        return Decision(held, "no answers in this period: no change")
    if _is_hot(situation.resources) and running < len(ladder.levels) - 1:
        return Decision(running + 1, f"{_heat(situation.resources)}: one level narrower")
    needs = _memory_bytes(ladder.levels[running])
    if measured.p95_ms > policy.deadline_ms:
        return _narrower(situation, running, measured.p95_ms)
    if not _fits_memory(situation, running, needs):
        return _narrower(situation, running, measured.p95_ms)
    return _wider_or_same(situation, running, measured)


def _running(situation: Situation) -> int | None:
    """Find the level that was measured, by digest; ``None``: not of this ladder."""
    if situation.measured is None:
        return None
    for manifest in situation.ladder.levels:
        if manifest.digest == situation.measured.digest:
            return manifest.level
    return None


def _begin(situation: Situation) -> Decision:
    if situation.desired is not None:
        return Decision(situation.desired, "waiting for the first measurement")
    narrowest = max(_allowed(situation))
    return Decision(narrowest, "no measurement yet: the narrowest level first")


def _allowed(situation: Situation) -> list[int]:
    """List the levels above the accuracy floor, or the dense one if none is."""
    floor = situation.policy.accuracy_floor
    levels = situation.ladder.levels
    if floor is None:
        return [manifest.level for manifest in levels]
    return [each.level for each in levels if each.accuracy.value >= floor] or [0]


def _narrower(situation: Situation, running: int, p95_ms: float) -> Decision:
    ladder, policy = situation.ladder, situation.policy
    if p95_ms > policy.deadline_ms:
        why = f"p95 {p95_ms:.3g} ms > deadline {policy.deadline_ms:.3g} ms at level {running}"
    else:
        why = f"memory is short at level {running}"
    allowed = [level for level in _allowed(situation) if level > running]
    # With the headroom free if there is such a level, else just within the deadline.
    fitting = _fitting(situation, running, p95_ms, allowed, policy.headroom_ratio) or _fitting(
        situation, running, p95_ms, allowed, 0.0
    )
    under_way = situation.desired if situation.desired in allowed else None
    if not fitting:
        level = max([running, *allowed])
        return Decision(level, f"{why}; nothing fits, level {level} is the least bad", True)
    level = most_accurate(ladder, fitting)
    if under_way is not None and under_way > level:
        level = under_way  # already on its way there: changing course would only delay
    return Decision(level, f"{why}; {_promise(situation, running, p95_ms, level)}")


def _wider_or_same(situation: Situation, running: int, measured: ModelTelemetry) -> Decision:
    ladder, policy, desired = situation.ladder, situation.policy, situation.desired
    p95_ms = measured.p95_ms or 0.0
    stay = f"p95 {p95_ms:.3g} ms fits deadline {policy.deadline_ms:.3g} ms at level {running}"
    if desired is not None and desired > running:
        return Decision(desired, f"{stay}; level {desired} is on its way")
    if running not in _allowed(situation):
        level = max(_allowed(situation))
        return Decision(level, f"level {running} is below the accuracy floor")
    if _is_warm(situation.resources):
        return Decision(running, f"{stay}; {_heat(situation.resources)}: nothing wider")
    recent_ms = measured.recent_p95_ms[-policy.patience :]
    if len(recent_ms) < policy.patience:
        on_way = running if desired is None else min(desired, running)
        if on_way < running and not _still_fits(situation, running, p95_ms, on_way):
            on_way = running
        return Decision(on_way, f"{stay}; {len(recent_ms)} of {policy.patience} periods agree")
    worst_ms = max(recent_ms)
    candidates = [level for level in _allowed(situation) if level < running]
    wider = _fitting(situation, running, worst_ms, candidates, policy.headroom_ratio)
    level = most_accurate(ladder, [running, *wider])
    if level == running:
        return Decision(running, stay)
    return Decision(level, f"{stay}; {_promise(situation, running, worst_ms, level)}")


def _fitting(
    situation: Situation,
    running: int,
    p95_ms: float,
    candidates: Iterable[int],
    headroom_ratio: float,
) -> list[int]:
    """List the candidates whose predicted latency and memory fit."""
    limit_ms = situation.policy.deadline_ms * (1 - headroom_ratio)
    freed_bytes = _memory_bytes(situation.ladder.levels[running])
    return [
        level
        for level in candidates
        if _predict(situation, running, p95_ms, level) <= limit_ms
        and _fits_memory(situation, level, freed_bytes)
    ]


def _still_fits(situation: Situation, running: int, p95_ms: float, level: int) -> bool:
    return _predict(situation, running, p95_ms, level) <= situation.policy.deadline_ms


def _predict(situation: Situation, running: int, p95_ms: float, level: int) -> float:
    return predict_p95_ms(situation.ladder, running=running, measured_ms=p95_ms, level=level)


def _promise(situation: Situation, running: int, p95_ms: float, level: int) -> str:
    predicted_ms = _predict(situation, running, p95_ms, level)
    accuracy = situation.ladder.levels[level].accuracy.value
    return f"level {level} predicted {predicted_ms:.3g} ms (accuracy {accuracy:.3f})"


def most_accurate(ladder: Ladder, levels: Iterable[int]) -> int:
    """Choose by accuracy; of equals, the faster one."""
    return max(
        levels,
        key=lambda level: (
            ladder.levels[level].accuracy.value,
            -ladder.levels[level].latency.p50_ms,
        ),
    )


def _memory_bytes(manifest: Manifest) -> int:
    """Say what a level needs; where it was not measured, twice its file as a floor."""
    return manifest.peak_memory_bytes or 2 * manifest.size_bytes


def _fits_memory(situation: Situation, level: int, freed_bytes: int) -> bool:
    available_bytes = situation.resources.memory_available_bytes
    if available_bytes is None:
        return True
    needed_bytes = _memory_bytes(situation.ladder.levels[level])
    return needed_bytes <= MEMORY_SHARE * (available_bytes + freed_bytes)


def _is_warm(resources: Resources) -> bool:
    return (resources.temperature_c or 0.0) > WARM_C or _is_hot(resources)


def _is_hot(resources: Resources) -> bool:
    return (resources.temperature_c or 0.0) > HOT_C or resources.throttled is True


def _heat(resources: Resources) -> str:
    if resources.throttled:
        return "throttled"
    return f"{resources.temperature_c or 0.0:.0f} C"
