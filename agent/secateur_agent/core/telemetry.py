"""From what the inference process measured in a period to what the fleet is told."""

from dataclasses import dataclass

from secateur_agent.core.window import remember
from secateur_protocols.telemetry import ModelTelemetry, Served


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneReport:
    """What one model did in one period, and its counters since the agent started.

    Attributes:
        digest: Of the artifact that serves; likewise ``version``, ``level``, ``precision``.
        p50_ms: Of the serving artifact's answers in this period, arrival to answer, nearest
            rank, milliseconds. ``None``: no answers. Likewise the other ranks.
        since_switch_s: Time that the artifact has served, seconds.
        offered: Frames handed over by the source, ``answered``, ``dropped`` by policy, and
            ``deadline_misses``: counters since the inference process started.
        switches: Changes of the serving artifact, the first one not counted.
        served: What each level answered in this period.
    """

    model: str
    version: str
    level: int
    digest: str
    precision: str
    deadline_ms: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    since_switch_s: float
    offered: int
    answered: int
    dropped: int
    lost: int
    deadline_misses: int
    switches: int
    served: tuple[Served, ...]


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


def tell(report: LaneReport, history: History, prefetched: tuple[str, ...]) -> ModelTelemetry:
    """Put one model's part of the telemetry message together."""
    return ModelTelemetry(
        model=report.model,
        version=report.version,
        level=report.level,
        digest=report.digest,
        precision=report.precision,
        deadline_ms=report.deadline_ms,
        p50_ms=report.p50_ms,
        p95_ms=report.p95_ms,
        p99_ms=report.p99_ms,
        p999_ms=report.p999_ms,
        recent_p95_ms=history.p95_ms,
        since_switch_s=report.since_switch_s,
        offered=report.offered,
        answered=report.answered,
        dropped=report.dropped,
        lost=report.lost,
        deadline_misses=report.deadline_misses,
        switches=report.switches,
        served=report.served,
        prefetched=prefetched,
    )
