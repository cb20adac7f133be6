"""A ladder as a picture: accuracy against latency, as pruned and as devices measure it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from statistics import median

from secateur_protocols.manifest import Ladder
from secateur_protocols.presence import PresenceState
from secateur_server.dashboard.charts import Frame, Series, legend, picture, points, ticks
from secateur_server.dashboard.markup import Html, join, tag
from secateur_server.dashboard.rows import Row

COLOURS = ("c1", "c2", "c3", "c4", "c5")
"""Of hardware classes; more than these share them."""

MAX_CLASSES = 5
"""In a picture: those with the most devices."""

LEAST_MS = 1e-3


@dataclass(frozen=True, slots=True)
class Use:
    """How one level does on the devices of one hardware class.

    Attributes:
        p95_ms: Median over devices. ``None``: none has measured.
    """

    devices: int
    p95_ms: float | None


Usage = Mapping[str, Mapping[int, Use]]
"""By hardware class and level."""


def usage_of(rows: Iterable[Row], ladder: Ladder) -> Usage:
    """Count who runs which level of a ladder, and how fast."""
    found: dict[str, dict[int, list[float | None]]] = {}
    for row in rows:
        is_ours = row.model == ladder.model and row.version == ladder.version
        if not is_ours or row.level is None or row.state != PresenceState.ONLINE:
            continue
        by_level = found.setdefault(row.hardware_class or "unknown", {})
        by_level.setdefault(row.level, []).append(row.p95_ms)
    return {
        name: {level: _use(measured) for level, measured in sorted(by_level.items())}
        for name, by_level in sorted(found.items(), key=lambda item: -_devices(item[1]))
    }


def _devices(by_level: Mapping[int, Sequence[float | None]]) -> int:
    return sum(map(len, by_level.values()))


def _use(measured: Sequence[float | None]) -> Use:
    known = [each for each in measured if each is not None]
    return Use(len(measured), median(known) if known else None)


def plot(ladder: Ladder, usage: Usage) -> Html:
    """Draw it: a line for the machine that pruned, one for each hardware class."""
    accuracies = [each.accuracy.value for each in ladder.levels]
    reference = [
        (max(LEAST_MS, each.latency.p50_ms), each.accuracy.value, each.level)
        for each in ladder.levels
    ]
    shown = dict(list(usage.items())[:MAX_CLASSES])
    classes = {
        name: [
            (max(LEAST_MS, use.p95_ms), accuracies[level], level)
            for level, use in by_level.items()
            if use.p95_ms is not None and level < len(accuracies)
        ]
        for name, by_level in shown.items()
    }
    everything = [*reference, *(each for line in classes.values() for each in line)]
    frame = _frame([each[0] for each in everything], accuracies)
    in_use = {level for by_level in usage.values() for level in by_level}
    drawn = [_axes(frame), _line(frame, reference, "c0", in_use)]
    drawn += [
        _line(frame, line, colour, in_use)
        for line, colour in zip(classes.values(), COLOURS, strict=False)
    ]
    names = [("reference, p50", "c0"), *zip(classes, COLOURS, strict=False)]
    key = legend(Series(name if k == "c0" else f"{name}, p95", k, ()) for name, k in names)
    return tag("figure", picture(frame, drawn, f"Ladder of {ladder.model}"), key, class_="plot")


def _frame(latencies_ms: Sequence[float], accuracies: Sequence[float]) -> Frame:
    """Span all points; latency on a logarithmic axis: machines differ by powers of ten."""
    low, high = log10(min(latencies_ms)), log10(max(latencies_ms))
    across = max(0.1, 0.06 * (high - low))
    least, most = min(accuracies), max(accuracies)
    up = max(0.005, 0.12 * (most - least))
    return Frame(
        low - across,
        high + across,
        max(0.0, least - up),
        min(1.0, most + up),
        height=250,
        top=26,
        bottom=34,
        left=52,
    )


def _axes(frame: Frame) -> Html:
    drawn = []
    for value in ticks(frame.y_low, frame.y_high):
        y = f"{frame.y(value):.1f}"
        ends = {"x1": f"{frame.left:.1f}", "x2": f"{frame.width - frame.right:.1f}"}
        drawn.append(tag("line", class_="grid", y1=y, y2=y, **ends))
        at = {"x": f"{frame.left - 6:.1f}", "y": f"{frame.y(value) + 3.5:.1f}"}
        drawn.append(tag("text", f"{value:.3g}", class_="tick end", **at))
    for value_ms in _decades(frame):
        x = f"{frame.x(log10(value_ms)):.1f}"
        ends = {"y1": f"{frame.top:.1f}", "y2": f"{frame.height - frame.bottom:.1f}"}
        drawn.append(tag("line", class_="grid", x1=x, x2=x, **ends))
        words = f"{value_ms:g} ms"
        drawn.append(
            tag("text", words, class_="tick middle", x=x, y=f"{frame.height - 18:.1f}")
        )
    middle = f"{(frame.left + frame.width - frame.right) / 2:.1f}"
    below = f"{frame.height - 3:.1f}"
    drawn.append(tag("text", "latency", class_="tick middle", x=middle, y=below))
    drawn.append(tag("text", "accuracy", class_="tick", x="2", y="9"))
    return join(drawn)


def _decades(frame: Frame) -> list[float]:
    """Choose round latencies within the span, some seven at most."""
    inside: list[float] = []
    for factors in ((1, 2, 5), (1, 3), (1,)):
        values = [
            factor * 10.0**power
            for power in range(floor(frame.x_low), ceil(frame.x_high) + 1)
            for factor in factors
        ]
        inside = [each for each in values if frame.x_low <= log10(each) <= frame.x_high]
        if len(inside) <= 7:  # noqa: PLR2004 - what fits beside each other
            break
    return inside


def _line(
    frame: Frame, rungs: Sequence[tuple[float, float, int]], colour: str, in_use: set[int]
) -> Html:
    places = [(frame.x(log10(ms)), frame.y(accuracy), level) for ms, accuracy, level in rungs]
    drawn = [
        tag("polyline", class_=f"line {colour}", points=points((x, y) for x, y, _ in places))
    ]
    for x, y, level in places:
        at = {"cx": f"{x:.1f}", "cy": f"{y:.1f}"}
        is_used = level in in_use
        drawn.append(
            tag("circle", class_=colour if is_used else f"ring hollow {colour}", r="8", **at)
        )
        kind = "rung" if is_used else "rung unused"
        drawn.append(tag("text", level, class_=kind, x=f"{x:.1f}", y=f"{y + 3.6:.1f}"))
    return join(drawn)
