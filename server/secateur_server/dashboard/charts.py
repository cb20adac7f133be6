"""Plots as SVG, drawn here: no script, no style attribute, colours by class."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from secateur_server.dashboard.markup import EMPTY, Html, join, tag

SPARK_WIDTH, SPARK_HEIGHT = 96.0, 26.0
SPARK_TOP = 1.5
"""Share of the deadline at the upper edge of a sparkline; what is above is drawn there."""


def sparkline(trend: Sequence[float], periods: int) -> Html:
    """Draw p95 as a share of the deadline; the dashed line is the deadline."""
    step = SPARK_WIDTH / max(1, periods - 1)
    begin = SPARK_WIDTH - step * (len(trend) - 1)
    places = [
        (begin + step * place, _spark_y(min(share, SPARK_TOP)))
        for place, share in enumerate(trend)
    ]
    deadline_y = f"{_spark_y(1.0):.1f}"
    worst = max(trend, default=0.0)
    kind = "late" if worst > 1 and trend and trend[-1] > 1 else "calm"
    drawn = [
        tag(
            "line",
            class_="limit",
            x1="0",
            x2=f"{SPARK_WIDTH:.0f}",
            y1=deadline_y,
            y2=deadline_y,
        )
    ]
    if len(places) > 1:
        drawn.append(tag("polyline", class_=f"trend {kind}", points=points(places)))
    if places:
        x, y = places[-1]
        drawn.append(
            tag("circle", class_=f"now {kind}", cx=f"{x - 2:.1f}", cy=f"{y:.1f}", r="2")
        )
    return tag(
        "svg",
        *drawn,
        class_="spark",
        viewBox=f"0 0 {SPARK_WIDTH:.0f} {SPARK_HEIGHT:.0f}",
        role="img",
        aria_label=f"p95 by deadline, last {len(trend)} periods, highest {worst:.0%}",
    )


def _spark_y(share: float) -> float:
    return 2 + (SPARK_HEIGHT - 4) * (1 - share / SPARK_TOP)


def points(places: Iterable[tuple[float, float]]) -> str:
    """Write places as a polyline wants them."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def meter(share: float | None, kind: str = "") -> Html:
    """Draw a share of one as a bar."""
    width = 100 * min(1.0, max(0.0, share or 0.0))
    return tag(
        "svg",
        tag("rect", class_="rail", width="100", height="6", rx="3"),
        tag("rect", class_=f"fill {kind}".strip(), width=f"{width:.1f}", height="6", rx="3"),
        class_="meter",
        viewBox="0 0 100 6",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


@dataclass(frozen=True, slots=True)
class Series:
    """One line.

    Attributes:
        kind: Its colour's class.
        values: One per moment; ``None``: a gap.
    """

    name: str
    kind: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment at which something happened."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a plot's data lie in its picture, and what they span."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    width: float = 640.0
    height: float = 200.0
    left: float = 46.0
    right: float = 10.0
    top: float = 16.0
    bottom: float = 22.0

    def x(self, value: float) -> float:
        """Give the place of a value from left to right."""
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Give the place of a value from top to bottom."""
        share = (value - self.y_low) / ((self.y_high - self.y_low) or 1.0)
        return self.height - self.bottom - share * (self.height - self.bottom - self.top)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Choose round values within a span, about so many."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    unit = 10.0 ** floor(log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * 0.999)
    first = ceil(low / step - 1e-9)
    last = floor(high / step + 1e-9)
    return [step * place for place in range(first, last + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large a plot is, and what its upright axis says.

    Attributes:
        unit: Written behind the highest value.
        low: Lower edge; ``None``: as low as what there is.
        high: The least that the upper edge is. ``None``: as high as what there is.
    """

    unit: str = ""
    low: float | None = 0.0
    high: float | None = None
    width: float = 400.0
    height: float = 170.0


def time_chart(
    times_s: Sequence[float],
    series: Sequence[Series],
    *,
    title: str,
    scale: Scale,
    limits: Sequence[Series] = (),
    marks: Sequence[Mark] = (),
) -> Html:
    """Draw lines over time, the newest to the right.

    Args:
        times_s: The moments, UTC seconds, oldest first.
        series: What was measured.
        title: For who cannot see the picture.
        scale: Of the values.
        limits: What must not be passed: dashed.
        marks: Upright lines with a word.
    """
    low, high = scale.low, scale.high
    values = [v for each in (*series, *limits) for v in each.values if v is not None]
    if not times_s or not values:
        return tag("p", "nothing measured yet", class_="empty small")
    least = min(values) if low is None else min(low, *values)
    most = max([*values, *([] if high is None else [high])])
    padding = (most - least or abs(most) or 1.0) * 0.08
    frame = Frame(
        times_s[0],
        times_s[-1],
        least - (padding if low is None else 0),
        most + padding,
        width=scale.width,
        height=scale.height,
    )
    drawn = [
        _grid(frame, scale.unit),
        _time_axis(frame),
        *(_mark(frame, mark) for mark in marks if frame.x_low <= mark.at <= frame.x_high),
        *(_line(frame, times_s, each, "limit") for each in limits),
        *(_line(frame, times_s, each, "line") for each in series),
    ]
    return picture(frame, drawn, title)


def picture(frame: Frame, drawn: Iterable[Html], title: str) -> Html:
    """Put what was drawn into one picture."""
    return tag(
        "svg",
        *drawn,
        class_="chart",
        viewBox=f"0 0 {frame.width:.0f} {frame.height:.0f}",
        role="img",
        aria_label=title,
    )


def _grid(frame: Frame, unit: str) -> Html:
    values = ticks(frame.y_low, frame.y_high)
    step = values[1] - values[0] if len(values) > 1 else 1.0
    digits = max(0, -floor(log10(step) + 1e-9))
    return join(
        join(
            (
                tag(
                    "line",
                    class_="grid",
                    x1=f"{frame.left:.1f}",
                    x2=f"{frame.width - frame.right:.1f}",
                    y1=f"{frame.y(value):.1f}",
                    y2=f"{frame.y(value):.1f}",
                ),
                tag(
                    "text",
                    f"{value:.{digits}f}{unit if value == values[-1] else ''}",
                    class_="tick end",
                    x=f"{frame.left - 6:.1f}",
                    y=f"{frame.y(value) + 3.5:.1f}",
                ),
            )
        )
        for value in values
    )


def _time_axis(frame: Frame) -> Html:
    span_s = frame.x_high - frame.x_low
    step_s = next(
        (
            step
            for step in (5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
            if step >= span_s / 5
        ),
        14400,
    )
    drawn = []
    for back in range(int(span_s / step_s) + 1):
        passed_s = back * step_s
        x = frame.x(frame.x_high - passed_s)
        words = "now" if not back else _passed(passed_s)
        drawn.append(
            tag(
                "text",
                words,
                class_="tick end" if not back else "tick middle",
                x=f"{x:.1f}",
                y=f"{frame.height - 6:.1f}",
            )
        )
    return join(drawn)


def _passed(passed_s: float) -> str:
    for least_s, unit_s, name in ((7200, 3600, "h"), (120, 60, "min")):
        if passed_s >= least_s:
            return f"\u2212{passed_s / unit_s:.0f} {name}"
    return f"\u2212{passed_s:.0f} s"


def _mark(frame: Frame, mark: Mark) -> Html:
    x = f"{frame.x(mark.at):.1f}"
    is_right = frame.x(mark.at) > frame.width - 60
    return tag(
        "g",
        tag(
            "line",
            class_="mark",
            x1=x,
            x2=x,
            y1=f"{frame.top:.1f}",
            y2=f"{frame.height - frame.bottom:.1f}",
        ),
        tag(
            "text", mark.text, class_="mark-word end" if is_right else "mark-word", x=x, y="11"
        ),
    )


def _line(frame: Frame, times_s: Sequence[float], series: Series, kind: str) -> Html:
    pieces: list[list[tuple[float, float]]] = [[]]
    for at_s, value in zip(times_s, series.values, strict=True):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((frame.x(at_s), frame.y(value)))
    return join(
        tag("polyline", class_=f"{kind} {series.kind}", points=points(piece))
        if len(piece) > 1
        else tag(
            "circle",
            class_=f"dot {series.kind}",
            cx=f"{piece[0][0]:.1f}",
            cy=f"{piece[0][1]:.1f}",
            r="1.5",
        )
        if kind == "line"
        else EMPTY
        for piece in pieces
        if piece
    )


def legend(series: Iterable[Series]) -> Html:
    """Name the lines."""
    return tag(
        "ul",
        *(
            tag("li", tag("span", class_=f"key {each.kind}", aria_hidden="true"), each.name)
            for each in series
        ),
        class_="legend",
    )
