"""Whether a period is worth a telemetry message: a dead-band and a byte budget.

A device on which nothing happens says little; what matters is said at once. In the order in
which they win:

    urgent       a limit was crossed, an artifact changed, a frame was lost
    heartbeat    nothing was said for ``silence_s``
    notable      a number left the dead-band around what was said last
    following    one of the periods after such a one: the planner's patience counts them
    refresh      nothing was said for a while, though for less than ``silence_s``

The budget is a bucket of bytes that fills at the rate of a month's allowance. The last three
are said while it holds any, urgent periods also on credit, heartbeats always: whoever listens
may take a longer silence than ``silence_s`` for absence, and no shorter one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from secateur_agent.core.report import LaneReport
from secateur_protocols.telemetry import Resources

MONTH_S = 30 * 86_400

WARM_C = 80.0
"""From here on the planner lets nothing go wider: to be on the other side is urgent."""

SHORT_RATIO = 0.1
"""Less available memory than this share is short: likewise."""


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
class Profile:
    """How much is said.

    Attributes:
        silence_s: A message comes at least this often, seconds.
        refresh_periods: And, while there is budget, after so many periods.
        latency_ratio: Dead-band of a p95: this share of what was said last, or a fifth of this
            share of the deadline, whichever is more.
        resource_ratio: Dead-band of shares and pressures, 0 to 1, and of memory and disk as
            shares of what there is.
        celsius: Dead-band of the temperature.
        following: Periods said after one that mattered. The planner's patience counts them, 3
            by default: with as many again, one bad period among them does not put its next
            decision off.
        month_bytes: On the wire, all of the agent's messages, acknowledgements and pings and
            their overhead included; downloads not.
        burst_ratio: What the bucket holds, and how far it may be overdrawn, as a share of a
            month's bytes.
    """

    silence_s: float
    refresh_periods: int
    latency_ratio: float
    resource_ratio: float
    celsius: float
    following: int
    month_bytes: float
    burst_ratio: float


NORMAL = Profile(
    silence_s=180.0,
    refresh_periods=18,
    latency_ratio=0.25,
    resource_ratio=0.25,
    celsius=5.0,
    following=6,
    month_bytes=72e6,
    burst_ratio=0.01,
)

METERED = Profile(
    silence_s=1800.0,
    refresh_periods=180,
    latency_ratio=1.0,
    resource_ratio=1.0,
    celsius=10.0,
    following=3,
    month_bytes=8e6,
    burst_ratio=0.0025,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One period.

    Attributes:
        elapsed_s: Since the period before.
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
        silent_s: Since then; likewise ``silent_periods``.
        following: Periods that are still to be said after one that mattered.
        saved_bytes: In the bucket; below 0 it is overdrawn. ``None``: full.
        wire_bytes: As of the last period.
    """

    said: Seen | None = None
    silent_s: float = 0.0
    silent_periods: int = 0
    following: int = 0
    saved_bytes: float | None = None
    wire_bytes: int = 0


def forget(state: Quiet) -> Quiet:
    """Say the next period whatever it holds: who listens may know nothing."""
    return replace(state, said=None)


def weigh(state: Quiet, seen: Seen, profile: Profile) -> tuple[Quiet, Why | None]:
    """Decide whether to say a period.

    Returns:
        The next state, and why it is said. ``None``: it is not.
    """
    burst = profile.burst_ratio * profile.month_bytes
    saved = burst if state.saved_bytes is None else state.saved_bytes
    used = max(0, seen.wire_bytes - state.wire_bytes)
    saved = min(burst, saved + profile.month_bytes / MONTH_S * seen.elapsed_s) - used
    following = replace(
        state,
        saved_bytes=saved,
        wire_bytes=seen.wire_bytes,
        silent_s=state.silent_s + seen.elapsed_s,
        silent_periods=state.silent_periods + 1,
    )
    why = _why(following, seen, profile)
    if why is None or saved <= _LEAST_SAVED[why] * burst:
        return following, None
    left = (
        profile.following if why in {Why.URGENT, Why.NOTABLE} else max(0, state.following - 1)
    )
    said = replace(following, said=seen, silent_s=0.0, silent_periods=0, following=left)
    return said, why


def _why(state: Quiet, seen: Seen, profile: Profile) -> Why | None:
    said = state.said
    # Before all else, so that credit that is used up never silences a heartbeat.
    if said is None or state.silent_s >= profile.silence_s:
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
