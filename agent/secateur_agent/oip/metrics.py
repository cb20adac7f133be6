"""What Prometheus scrapes: the last period of models and device, in its text format.

Names and meanings are stable: dashboards and alerts are built on them.

Source: Prometheus documentation, "Exposition formats", text format 0.0.4.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from secateur_agent.core.report import DeviceReport, LaneReport

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

_OF_DEVICE: tuple[tuple[str, str, str, Callable[[DeviceReport], float | None]], ...] = (
    ("device_cpu_share", "gauge", "Busy share of all cores.", lambda d: d.cpu_share),
    (
        "device_memory_bytes",
        "gauge",
        "The machine's memory, or its control group's limit if that is less.",
        lambda d: d.memory_total_bytes,
    ),
    (
        "device_memory_available_bytes",
        "gauge",
        "Memory that could be had without swapping.",
        lambda d: d.memory_available_bytes,
    ),
    (
        "device_temperature_celsius",
        "gauge",
        "Hottest thermal zone.",
        lambda d: d.temperature_c,
    ),
    (
        "device_throttled",
        "gauge",
        "Whether heat or power slows the processor: 1 or 0.",
        lambda d: None if d.throttled is None else int(d.throttled),
    ),
    (
        "wire_sent_bytes_total",
        "counter",
        "To brokers, overhead included.",
        lambda d: d.wire_sent_bytes,
    ),
    (
        "wire_received_bytes_total",
        "counter",
        "From brokers, overhead included.",
        lambda d: d.wire_received_bytes,
    ),
)

_QUANTILES: tuple[tuple[str, _Read], ...] = (
    ("0.5", lambda r: r.p50_ms),
    ("0.95", lambda r: r.p95_ms),
    ("0.99", lambda r: r.p99_ms),
)


def render(reports: Sequence[LaneReport], device: DeviceReport) -> str:
    """Write all metrics; a sensor that is missing has no sample."""
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
    for name, kind, help_, read in _OF_DEVICE:
        lines += _family(name, kind, help_, [("", read(device))])
    return "\n".join(lines) + "\n"


def _seconds(value_ms: float | None) -> float | None:
    return None if value_ms is None else value_ms / 1e3


def _family(
    name: str, kind: str, text: str, values: Iterable[tuple[str, float | None]]
) -> list[str]:
    lines = [f"# HELP secateur_{name} {text}", f"# TYPE secateur_{name} {kind}"]
    for labels, value in values:
        if value is not None:
            braced = f"{{{labels}}}" if labels else ""
            lines.append(f"secateur_{name}{braced} {value!r}")
    return lines
