"""From what the inference process measured in a period to what the fleet is told."""

from collections.abc import Sequence
from dataclasses import dataclass

from secateur_agent.core.report import DeviceReport, LaneReport, LevelServed
from secateur_agent.core.window import remember
from secateur_protocols.plain import MAX_HISTORY
from secateur_protocols.telemetry import ModelTelemetry, Resources, Served

DIGITS = 4
"""Of a latency in a message: measurements are not better than that, and 17 cost bytes."""


@dataclass(frozen=True, slots=True)
class WireBytes:
    """What has passed between agent and brokers since the agent started, headers included."""

    sent: int = 0
    received: int = 0

    @property
    def total(self) -> int:
        """Both ways: what a metered link counts."""
        return self.sent + self.received


@dataclass(frozen=True, slots=True)
class History:
    """What a model's earlier periods say.

    Attributes:
        digest: Of the artifact that ``p95_ms`` was measured on.
        p95_ms: One value per period since the last switch, oldest first, milliseconds.
    """

    digest: str = ""
    p95_ms: tuple[float, ...] = ()


def extend(history: History, report: LaneReport) -> History:
    """Add one period; another artifact begins a new history.

    The period in which a switch happened counts for the new artifact: its ranks hold
    only what that artifact answered.
    """
    earlier = history.p95_ms if history.digest == report.digest else ()
    return History(report.digest, remember(earlier, report.p95_ms))


def tell(
    report: LaneReport,
    history: History,
    *,
    served: tuple[LevelServed, ...],
    prefetched: tuple[str, ...],
) -> ModelTelemetry:
    """Put one model's part of the telemetry message together.

    Args:
        report: Of the period that ended.
        history: This period included.
        served: What each level answered since the last message.
        prefetched: Digests that the store holds.
    """
    return ModelTelemetry(
        model=report.model,
        version=report.version,
        level=report.level,
        digest=report.digest,
        precision=report.precision,
        deadline_ms=report.deadline_ms,
        p50_ms=_short(report.p50_ms),
        p95_ms=_short(report.p95_ms),
        p99_ms=_short(report.p99_ms),
        p999_ms=_short(report.p999_ms),
        recent_p95_ms=tuple(float(f"{p95_ms:.{DIGITS}g}") for p95_ms in history.p95_ms),
        since_switch_s=round(report.since_switch_s, 1),
        offered=report.offered,
        answered=report.answered,
        dropped=report.dropped,
        lost=report.lost,
        deadline_misses=report.deadline_misses,
        switches=report.switches,
        served=tuple(
            Served(
                level=each.level,
                answered=each.answered,
                labelled=each.labelled,
                correct=each.correct,
            )
            for each in served
        ),
        prefetched=prefetched,
    )


def add_served(
    earlier: tuple[LevelServed, ...], later: tuple[LevelServed, ...]
) -> tuple[LevelServed, ...]:
    """Add what two periods answered, level by level; of too many levels the latest stay."""
    sums = {each.level: each for each in earlier}
    for each in later:
        before = sums.pop(each.level, None)
        sums[each.level] = each if before is None else _add(before, each)
    return tuple(sums.values())[-MAX_HISTORY:]


def describe(resources: Resources, passed: WireBytes) -> DeviceReport:
    """Give what of a device is of interest on the device itself."""
    return DeviceReport(
        cpu_share=resources.cpu_share,
        memory_total_bytes=resources.memory_total_bytes,
        memory_available_bytes=resources.memory_available_bytes,
        temperature_c=resources.temperature_c,
        throttled=resources.throttled,
        wire_sent_bytes=passed.sent,
        wire_received_bytes=passed.received,
    )


def shorten(resources: Resources) -> Resources:
    """Leave out digits that no decision needs and every message would carry."""
    shares = ("cpu_share", "cpu_pressure", "memory_pressure", "io_pressure", "battery_ratio")
    values = {name: getattr(resources, name) for name in shares}
    rounded = {name: round(value, 3) for name, value in values.items() if value is not None}
    return resources.model_copy(update=rounded)


def _add(before: LevelServed, each: LevelServed) -> LevelServed:
    return LevelServed(
        level=each.level,
        answered=before.answered + each.answered,
        labelled=before.labelled + each.labelled,
        correct=before.correct + each.correct,
    )


def _short(value_ms: float | None) -> float | None:
    return None if value_ms is None else float(f"{value_ms:.{DIGITS}g}")


def in_words(reports: Sequence[LaneReport]) -> str:
    """Say in one line how the models do, for people who look at the service."""
    if not reports:
        return "no model serves yet"
    return "; ".join(
        f"{each.model} level {each.level}, "
        + (
            f"p95 {each.p95_ms:.3g} of {each.deadline_ms:g} ms"
            if each.p95_ms is not None
            else "idle"
        )
        for each in reports
    )
