"""What a device's evidence says of the new version, compared with the device before it.

The measure is what the old version would do on this device at the same place on its ladder:
what was measured there if it ran there, else what was measured elsewhere on the ladder, scaled
as the old version's manifests have it. What the new version's manifests promise is no excuse.

    p95           median of the candidate over `max_p95_ratio` times the baseline's, and its
                  lower quartile over the baseline's upper one: a busy minute is not enough
    temperature,  likewise, by difference
    memory
    misses,       the shares differ by more than allowed, and by more than chance explains
    accuracy      (`proportions`, three standard deviations)

No comparison speaks before both sides have `MIN_PERIODS` periods, or `MIN_COUNTED` answers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import NamedTuple

from secateur_protocols.manifest import Ladder
from secateur_protocols.rollout import Gate, RolloutGates
from secateur_server.core.evidence import (
    MIN_PERIODS,
    Evidence,
    Objection,
    Sample,
    Versions,
)
from secateur_server.core.proportions import Counted, least_fall

MIN_COUNTED = 300
"""Answers on each side before shares are compared: at 99 % right, 300 tell a fall of five
points from chance."""

ELSEWHERE_ALLOWANCE = 1.3
"""Times the allowed ratio where the baseline was measured at another level: manifests were
measured on another machine, where levels may compare a little otherwise."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a device's evidence says.

    Attributes:
        objection: Why it is bad. ``None``: nothing speaks against it so far.
        is_complete: All that can be compared has been, at the level it runs now.
    """

    objection: Objection | None
    is_complete: bool


def has_baseline(evidence: Evidence) -> bool:
    """Say whether enough is known of the device before the change to compare all with."""
    samples = evidence.baseline.values()
    labelled = sum(each.labelled for each in samples)
    answered = sum(each.answered for each in samples)
    return (
        any(len(each.p95_ms) >= MIN_PERIODS for each in samples)
        and (labelled == 0 or labelled >= MIN_COUNTED)
        and answered >= MIN_COUNTED
    )


def judge(evidence: Evidence, versions: Versions, gates: RolloutGates) -> Verdict:
    """Weigh what is known of one device."""
    if evidence.objection is not None:
        return Verdict(evidence.objection, is_complete=True)
    for level, sample in evidence.candidate.items():
        reference = _reference(evidence.baseline, versions, level)
        if reference is None:
            continue
        objection = next(_objections(sample, reference, gates, level), None)
        if objection is not None:
            return Verdict(objection, is_complete=True)
    return Verdict(None, is_complete=_is_complete(evidence))


def peer_level(stable: Ladder, target: Ladder, level: int) -> int:
    """Give the old version's level at the same place on its ladder."""
    last, target_last = len(stable.levels) - 1, len(target.levels) - 1
    if target_last in {last, 0}:
        return min(level, last)
    return round(level * last / target_last)


class _Reference(NamedTuple):
    """What the old version does at that place.

    Attributes:
        sample: What was measured.
        latency_ratio: What p95 there is multiplied with; 1 if it was measured there.
        memory_bytes: What is added to the memory in use there, and ``accuracy`` to the share.
    """

    sample: Sample
    latency_ratio: float = 1.0
    memory_bytes: int = 0
    accuracy: float = 0.0
    is_exact: bool = True


def _reference(
    baseline: Mapping[int, Sample], versions: Versions, level: int
) -> _Reference | None:
    peer = peer_level(versions.stable, versions.target, level)
    there = baseline.get(peer)
    if there is not None and len(there.p95_ms) >= MIN_PERIODS:
        return _Reference(there)
    measured = max(baseline, key=lambda each: len(baseline[each].p95_ms), default=None)
    if measured is None:
        return None
    ours, theirs = versions.stable.levels[peer], versions.stable.levels[measured]
    ratio = ours.latency.p50_ms / theirs.latency.p50_ms if theirs.latency.p50_ms > 0 else 1.0
    memory = (ours.peak_memory_bytes or 0) - (theirs.peak_memory_bytes or 0)
    accuracy = ours.accuracy.value - theirs.accuracy.value
    return _Reference(baseline[measured], ratio, memory, accuracy, is_exact=False)


def _objections(
    sample: Sample, reference: _Reference, gates: RolloutGates, level: int
) -> Iterator[Objection]:
    before = reference.sample
    yield from _slower(sample, reference, gates, level)
    missed = Counted(before.answered - before.missed, before.answered)
    in_time = Counted(sample.answered - sample.missed, sample.answered)
    if reference.is_exact and _falls(missed, in_time, gates.max_miss_rise, 0.0):
        detail = f"{1 - in_time.share:.1%} late, {1 - missed.share:.1%} before"
        yield Objection(Gate.MISSES, f"level {level}: {detail}")
    right_before = Counted(before.correct, before.labelled)
    right = Counted(sample.correct, sample.labelled)
    if _falls(right_before, right, gates.max_accuracy_drop, reference.accuracy):
        expected = right_before.share + min(0.0, reference.accuracy)
        detail = f"{right.share:.1%} right, {expected:.1%} by the old version"
        yield Objection(Gate.ACCURACY, f"level {level}: {detail}")
    yield from _warmer(sample, before, gates, level)
    yield from _hungrier(sample, reference, gates, level)


def _slower(
    sample: Sample, reference: _Reference, gates: RolloutGates, level: int
) -> Iterator[Objection]:
    expected_ms = [each * reference.latency_ratio for each in reference.sample.p95_ms]
    if not _are_enough(sample.p95_ms, expected_ms):
        return
    limit = gates.max_p95_ratio * (1.0 if reference.is_exact else ELSEWHERE_ALLOWANCE)
    usual_ms, now_ms = median(expected_ms), median(sample.p95_ms)
    if now_ms > limit * usual_ms and _is_apart(expected_ms, sample.p95_ms):
        detail = f"p95 {now_ms:.3g} ms, {usual_ms:.3g} ms by the old version"
        yield Objection(Gate.P95, f"level {level}: {detail}")


def _warmer(
    sample: Sample, before: Sample, gates: RolloutGates, level: int
) -> Iterator[Objection]:
    usual_c, now_c = before.temperature_c, sample.temperature_c
    if not _are_enough(usual_c, now_c):
        return
    rise_c = median(now_c) - median(usual_c)
    if rise_c > gates.max_temperature_rise_c and _is_apart(usual_c, now_c):
        yield Objection(Gate.TEMPERATURE, f"level {level}: {rise_c:.0f} degrees C warmer")


def _hungrier(
    sample: Sample, reference: _Reference, gates: RolloutGates, level: int
) -> Iterator[Objection]:
    usual, now = reference.sample.available_bytes, sample.available_bytes
    total = min(reference.sample.total_bytes, sample.total_bytes)
    if not _are_enough(usual, now) or total == 0:
        return
    rise = median(usual) - median(now) - max(0, reference.memory_bytes)
    # Turned round: less available is more in use.
    if rise > gates.max_memory_rise * total and _is_apart(now, usual):
        yield Objection(Gate.MEMORY, f"level {level}: {rise / 1e6:.0f} MB more in use")


def _falls(before: Counted, after: Counted, allowed: float, by_design: float) -> bool:
    """Say whether a share has fallen, beyond what is allowed, by design, and by chance."""
    if min(before.total, after.total) < MIN_COUNTED:
        return False
    designed = max(0.0, -by_design)
    fall = before.share - after.share - designed
    return fall > allowed and least_fall(before, after) - designed > 0


def _are_enough(
    one: tuple[float, ...] | list[float], other: tuple[float, ...] | list[float]
) -> bool:
    return min(len(one), len(other)) >= MIN_PERIODS


def _is_apart(
    below: tuple[float, ...] | list[float], above: tuple[float, ...] | list[float]
) -> bool:
    """Say whether three quarters of ``above`` lie over three quarters of ``below``."""
    return quantiles(above, n=4)[0] > quantiles(below, n=4)[2]


def _is_complete(evidence: Evidence) -> bool:
    """Say whether the level that runs now has shown all that there is a baseline for."""
    before = evidence.baseline.values()
    if not any(before_.p95_ms or before_.answered for before_ in before):
        return True  # nothing to compare with
    sample = evidence.candidate.get(evidence.level) if evidence.level is not None else None
    if sample is None:
        return False
    labelled = sum(each.labelled for each in before)
    answered = sum(each.answered for each in before)
    return (
        len(sample.p95_ms) >= MIN_PERIODS
        and (labelled < MIN_COUNTED or sample.labelled >= MIN_COUNTED)
        and (answered < MIN_COUNTED or sample.answered >= MIN_COUNTED)
    )
