"""Whether a period is worth a telemetry message: a dead-band and a byte budget.

A device on which nothing happens says little; what matters is said at once. In the order in
which they win:

    urgent       a limit was crossed, an artifact changed, a frame was lost
    heartbeat    nothing was said for as long as the last message promised
    notable      a number left the dead-band around what was said last
    following    one of the periods after such a one: the planner's patience counts them
    refresh      nothing was said for a while, though for less than that

The budget is a bucket of bytes that fills steadily. The last three are said while it holds
any, urgent periods also on credit, until that is used up as well.

Heartbeats always are: whoever listens may take a longer silence than was promised for
absence, and no shorter one. But each message promises anew, and on credit the silence grows
to what the bucket needs to be level again. So the budget is a bound: in 30 days no more passes
than ``month_bytes``, as long as one message and all that it brings about (a change of level,
the broker's acknowledgements, pings) cost no more than the bucket can hold, and the
connection lasts. Proof: a period is said only while less than a bucket is owed, or after a
silence in which at least as much flowed in as the message before it and its consequences took
out. So at most three buckets are owed; a full one is there at first; and the inflow leaves
room for these four.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from secateur_agent.core.profile import Profile
from secateur_agent.core.report import LaneReport
from secateur_protocols.telemetry import Resources

WARM_C = 80.0
"""From here on the planner lets nothing go wider: to be on the other side is urgent."""

SHORT_RATIO = 0.1
"""Less available memory than this share is short: likewise."""


MOST_COMPLAINTS = 16
"""Faults that are told at once, and one more every `COMPLAINT_S`."""

COMPLAINT_S = 60.0
"""How long a fault that was told counts, seconds."""


class Why(StrEnum):
    """Why a period is said."""

    URGENT = "urgent"
    HEARTBEAT = "heartbeat"
    NOTABLE = "notable"
    FOLLOWING = "following"
    REFRESH = "refresh"


_LEAST_SAVED = {
    Why.URGENT: -1.0,
    Why.HEARTBEAT: float("-inf"),
    Why.NOTABLE: 0.0,
    Why.FOLLOWING: 0.0,
    Why.REFRESH: 0.0,
}
"""What the bucket must hold more than, as a share of what it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One period.

    Attributes:
        elapsed_s: Since the period before, which a crossed limit may have ended early.
        wire_bytes: All that has passed on the wire since the agent started, both ways.
    """

    elapsed_s: float
    wire_bytes: int
    resources: Resources
    reports: Mapping[str, LaneReport]


@dataclass(frozen=True, slots=True)
class Quiet:
    """What was said last, and what is left to say it with.

    Attributes:
        said: ``None``: nothing yet on this connection.
        promised_s: The next message comes within this time, give or take a period.
        silent_s: Since the last one; likewise ``silent_periods``.
        following: Periods that are still to be said after one that mattered.
        saved_bytes: In the bucket; below 0 it is overdrawn. ``None``: full.
        wire_bytes: As of the last period.
        complaints: Faults that were told lately; of each, less and less is left.
    """

    said: Seen | None = None
    promised_s: float = 0.0
    silent_s: float = 0.0
    silent_periods: int = 0
    following: int = 0
    saved_bytes: float | None = None
    wire_bytes: int = 0
    complaints: float = 0.0


def complain(state: Quiet, profile: Profile) -> Quiet | None:
    """Count a fault that is to be told at once; ``None``: it must not be.

    A model that fails with each frame would fill the link with its faults. They are counted
    in the telemetry as well.
    """
    owes_all = state.saved_bytes is not None and state.saved_bytes <= -profile.burst_bytes
    if owes_all or state.complaints > MOST_COMPLAINTS - 1:
        return None
    return replace(state, complaints=state.complaints + 1)


def forget(state: Quiet) -> Quiet:
    """Say the next period whatever it holds: who listens may know nothing."""
    return replace(state, said=None)


def weigh(state: Quiet, seen: Seen, profile: Profile) -> tuple[Quiet, Why | None]:
    """Decide whether to say a period.

    Returns:
        The next state, and why it is said. ``None``: it is not.
    """
    saved = _save(state, seen, profile)
    following = replace(
        state,
        saved_bytes=saved,
        wire_bytes=seen.wire_bytes,
        silent_s=state.silent_s + seen.elapsed_s,
        silent_periods=state.silent_periods + 1,
        complaints=max(0.0, state.complaints - seen.elapsed_s / COMPLAINT_S),
    )
    why = _why(following, seen, profile)
    if why is None or saved <= _LEAST_SAVED[why] * profile.burst_bytes:
        return following, None
    left = (
        profile.following if why in {Why.URGENT, Why.NOTABLE} else max(0, state.following - 1)
    )
    said = replace(
        following,
        said=seen,
        promised_s=_promise_s(saved, profile),
        silent_s=0.0,
        silent_periods=0,
        following=left,
    )
    return said, why


def _save(state: Quiet, seen: Seen, profile: Profile) -> float:
    """Give what the bucket holds now: what is used leaves it, what does not fit is gone."""
    saved = profile.burst_bytes if state.saved_bytes is None else state.saved_bytes
    used = max(0, seen.wire_bytes - state.wire_bytes)
    return min(profile.burst_bytes, saved + profile.bytes_per_s * seen.elapsed_s) - used


def _promise_s(saved: float, profile: Profile) -> float:
    """Give the longest time until the next message, if one is said now."""
    level_s = -saved / profile.bytes_per_s
    return min(max(profile.silence_s, level_s), profile.longest_silence_s)


def _why(state: Quiet, seen: Seen, profile: Profile) -> Why | None:
    said = state.said
    # Before all else, so that credit that is used up never silences a heartbeat.
    if said is None or state.silent_s >= state.promised_s:
        return Why.HEARTBEAT
    if _alarms(said) != _alarms(seen) or _losses(said) != _losses(seen):
        return Why.URGENT
    if _has_left_band(said, seen, profile):
        return Why.NOTABLE
    if state.following:
        return Why.FOLLOWING
    return Why.REFRESH if state.silent_periods >= profile.refresh_periods else None


def _alarms(seen: Seen) -> tuple[object, ...]:
    """Give all that is urgent when it changes."""
    resources = seen.resources
    return (
        resources.throttled,
        resources.low_voltage,
        resources.on_mains,
        None if resources.temperature_c is None else resources.temperature_c > WARM_C,
        _is_short(resources),
        {
            name: (report.digest, report.deadline_ms, _is_late(report))
            for name, report in seen.reports.items()
        },
    )


def _losses(seen: Seen) -> dict[str, int]:
    return {name: report.lost for name, report in seen.reports.items()}


def _is_short(resources: Resources) -> bool | None:
    free = _share(resources.memory_available_bytes, resources.memory_total_bytes)
    return None if free is None else free < SHORT_RATIO


def _is_late(report: LaneReport) -> bool | None:
    return None if report.p95_ms is None else report.p95_ms > report.deadline_ms


def _has_left_band(said: Seen, seen: Seen, profile: Profile) -> bool:
    before, now = said.resources, seen.resources
    band = profile.resource_ratio
    return (
        _differ(before.cpu_share, now.cpu_share, band)
        or _differ(before.cpu_pressure, now.cpu_pressure, band)
        or _differ(before.memory_pressure, now.memory_pressure, band)
        or _differ(before.io_pressure, now.io_pressure, band)
        or _differ(before.battery_ratio, now.battery_ratio, band)
        or _differ(before.temperature_c, now.temperature_c, profile.celsius)
        or _differ(_free_memory(before), _free_memory(now), band)
        or _disk_differs(before.disk_free_bytes, now.disk_free_bytes, band)
        or any(
            _latency_differs(said.reports[name], report, profile)
            for name, report in seen.reports.items()
        )
    )


def _latency_differs(said: LaneReport, seen: LaneReport, profile: Profile) -> bool:
    band = profile.latency_ratio * max(said.p95_ms or 0.0, seen.deadline_ms / 5)
    return _differ(said.p95_ms, seen.p95_ms, band)


def _disk_differs(said: int | None, seen: int | None, band: float) -> bool:
    return _differ(said, seen, band * (said or 0))


def _differ(said: float | None, seen: float | None, band: float) -> bool:
    if said is None or seen is None:
        return said is not seen
    return abs(seen - said) > band


def _free_memory(resources: Resources) -> float | None:
    return _share(resources.memory_available_bytes, resources.memory_total_bytes)


def _share(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else part / whole
