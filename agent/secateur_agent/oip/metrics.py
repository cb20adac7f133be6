"""What Prometheus scrapes: the last period's reports, in its text format.

Names and meanings are stable: dashboards and alerts are built on them.

Source: Prometheus documentation, "Exposition formats", text format 0.0.4.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from secateur_agent.core.report import LaneReport

_Read = Callable[[LaneReport], float | None]


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    kind: str
    help: str
    read: _Read


_OF_MODELS = (
    _Metric("frames_offered_total", "counter", "Frames handed over.", lambda r: r.offered),
    _Metric("frames_answered_total", "counter", "Frames answered.", lambda r: r.answered),
    _Metric("frames_dropped_total", "counter", "Frames let go by policy.", lambda r: r.dropped),
    _Metric("frames_lost_total", "counter", "Frames lost by a fault.", lambda r: r.lost),
    _Metric(
        "deadline_misses_total",
        "counter",
        "Answers later than the deadline.",
        lambda r: r.deadline_misses,
    ),
    _Metric("switches_total", "counter", "Changes of the artifact.", lambda r: r.switches),
    _Metric("level", "gauge", "Pruning level that answers.", lambda r: r.level),
    _Metric(
        "deadline_seconds", "gauge", "From arrival to answer.", lambda r: r.deadline_ms / 1e3
    ),
)

_QUANTILES: tuple[tuple[str, _Read], ...] = (
    ("0.5", lambda r: r.p50_ms),
    ("0.95", lambda r: r.p95_ms),
    ("0.99", lambda r: r.p99_ms),
)


def render(reports: Sequence[LaneReport]) -> str:
    """Write all metrics."""
    lines: list[str] = []
    for metric in _OF_MODELS:
        values = ((f'model="{r.model}"', metric.read(r)) for r in reports)
        lines += _family(metric.name, metric.kind, metric.help, values)
    quantiles = (
        (f'model="{r.model}",quantile="{quantile}"', _seconds(read(r)))
        for r in reports
        for quantile, read in _QUANTILES
    )
    text = "Arrival to answer, nearest rank, of the last telemetry period."
    lines += _family("latency_seconds", "gauge", text, quantiles)
    return "\n".join(lines) + "\n"


def _seconds(value_ms: float | None) -> float | None:
    return None if value_ms is None else value_ms / 1e3


def _family(
    name: str, kind: str, text: str, values: Iterable[tuple[str, float | None]]
) -> list[str]:
    lines = [f"# HELP secateur_{name} {text}", f"# TYPE secateur_{name} {kind}"]
    for labels, value in values:
        if value is not None:
            lines.append(f"secateur_{name}{{{labels}}} {value!r}")
    return lines
