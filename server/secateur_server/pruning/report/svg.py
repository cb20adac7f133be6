"""Three kinds of plots as SVG text: points, lines and bars.

Texts may be anything, also what a model's author wrote: all are escaped here. Colours are
classes (``c0`` ..) of the page's style, so that plots follow light and dark mode.
"""

import html
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from secateur_server.pruning.report.scale import Scale, fit, ticks

WIDTH = 440
"""Of a drawing, in its own units: narrow, so that letters stay readable on a phone."""

LEFT, RIGHT, TOP, BOTTOM = 62, 16, 14, 40
"""Margins of points and lines."""

HEIGHT = 280
ROW, LABEL = 15, 166
"""Of bars: height of one, width of the labels."""

COLOURS = 8
"""How many classes the page's style has."""

BIG = 1e4
"""Numbers from here on are written in full."""

CHARACTER = 6.8
"""Width of a letter at most, for cutting labels."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a plot is called, for those who see it and those who hear it.

    Attributes:
        title: Short; no other plot of the page has it.
        description: What can be seen, in a sentence or two.
        x: Name and unit of the axis across.
        y: Of the axis up; of bars: not used.
    """

    title: str
    description: str
    x: str = ""
    y: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One thing with two numbers.

    Attributes:
        low: Lower end of the interval of ``y``; ``None``: none is known.
        high: Upper end.
    """

    x: float
    y: float
    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One row of (x, y), ascending in x."""

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Bars:
    """One label with a bar for each series; ``None``: no bar."""

    label: str
    values: tuple[float | None, ...]


def number(value: float) -> str:
    """Write a number for an axis or a bar, short, and never with an exponent if large."""
    digits = 4 if abs(value) < BIG else max(4, len(f"{abs(value):.0f}"))
    return f"{value:,.{digits}g}"


def scatter(words: Words, points: Sequence[Point]) -> str:
    """Plot points with their intervals, each labelled; a line joins them in their order."""
    x = fit([p.x for p in points], start=LEFT, end=WIDTH - RIGHT, from_zero=True)
    ends = [end for p in points for end in (p.y, p.low, p.high) if end is not None]
    y = fit(ends, start=HEIGHT - BOTTOM, end=TOP)
    inside = [_path([(x.at(p.x), y.at(p.y)) for p in points], "c0 faint")]
    for p in points:
        across, up = x.at(p.x), y.at(p.y)
        if p.low is not None and p.high is not None:
            inside.append(_whisker(across, y.at(p.low), y.at(p.high)))
        inside.append(_dot(across, up, "c0", 4))
        anchor, shift = ("end", -8) if across > WIDTH * 0.75 else ("start", 8)
        inside.append(_text(across + shift, up + 4, p.label, anchor))
    return _frame(words, HEIGHT, _axes(words, x, y) + inside)


def lines(words: Words, rows: Sequence[Line]) -> str:
    """Plot lines, with a legend below."""
    every = [point for row in rows for point in row.points]
    legend = math.ceil(len(rows) / 2) * ROW
    x = fit([p for p, _ in every], start=LEFT, end=WIDTH - RIGHT)
    y = fit([p for _, p in every], start=HEIGHT - BOTTOM, end=TOP, from_zero=True)
    inside = _axes(words, x, y)
    for k, row in enumerate(rows):
        places = [(x.at(across), y.at(up)) for across, up in row.points]
        inside.append(_path(places, f"c{k % COLOURS}"))
        inside += [
            f'<circle class="c{k % COLOURS}" cx="{a:.1f}" cy="{b:.1f}" r="2.2"/>'
            for a, b in places
        ]
    inside += _legend([row.label for row in rows], HEIGHT + 4, columns=2)
    return _frame(words, HEIGHT + legend + 8, inside)


def bars(words: Words, rows: Sequence[Bars], series: Sequence[str]) -> str:
    """Plot horizontal bars from zero, those of one label together, the first on top."""
    thick = 11.0
    pitch = thick * len(series) + 7
    top = TOP + (math.ceil(len(series) / 2) * ROW + 4 if len(series) > 1 else 0)
    values = [value for row in rows for value in row.values if value is not None]
    x = fit(values, start=LABEL, end=WIDTH - 52, from_zero=True)
    inside = _legend(series, TOP, columns=2) if len(series) > 1 else []
    for k, row in enumerate(rows):
        y = top + k * pitch
        inside.append(_text(LABEL - 6, y + pitch / 2, row.label, "end", room=LABEL - 10))
        for j, value in enumerate(row.values):
            if value is None:
                continue
            width = max(x.at(value) - LABEL, 0.5)
            at = y + j * thick
            inside.append(
                f'<rect class="c{j % COLOURS}" x="{LABEL}" y="{at:.1f}" '
                f'width="{width:.1f}" height="{thick - 1.5:.1f}"/>'
            )
            told = _text(
                LABEL + width + 4, at + thick - 2.5, number(value), "start", small=True
            )
            inside.append(told)
    bottom = top + len(rows) * pitch
    inside.append(_text((LABEL + WIDTH) / 2, bottom + 14, words.x, "middle"))
    return _frame(words, bottom + 22, inside)


def _frame(words: Words, height: float, inside: Sequence[str]) -> str:
    name = f"plot-{zlib.crc32(words.title.encode()):08x}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-labelledby="{name}-t {name}-d"><title id="{name}-t">'
        f'{html.escape(words.title)}</title><desc id="{name}-d">'
        f"{html.escape(words.description)}</desc>{''.join(inside)}</svg>"
    )


def _axes(words: Words, x: Scale, y: Scale) -> list[str]:
    drawn = []
    for value in ticks(y):
        at = y.at(value)
        drawn.append(f'<path class="grid" d="M{x.start} {at:.1f}H{x.end}"/>')
        drawn.append(_text(x.start - 6, at + 4, number(value), "end"))
    for value in ticks(x):
        at = x.at(value)
        drawn.append(f'<path class="grid" d="M{at:.1f} {y.start}v4"/>')
        drawn.append(_text(at, y.start + 16, number(value), "middle"))
    drawn.append(_text((x.start + x.end) / 2, y.start + 33, words.x, "middle"))
    middle = (y.start + y.end) / 2
    drawn.append(
        f'<text transform="translate(12 {middle:.0f}) rotate(-90)" '
        f'text-anchor="middle">{html.escape(words.y)}</text>'
    )
    return drawn


def _legend(names: Sequence[str], top: float, columns: int) -> list[str]:
    drawn, width = [], WIDTH / columns
    for k, name in enumerate(names):
        x, y = 8 + (k % columns) * width, top + (k // columns) * ROW
        drawn.append(
            f'<rect class="c{k % COLOURS}" x="{x:.1f}" y="{y:.1f}" width="9" height="9"/>'
        )
        drawn.append(_text(x + 14, y + 9, name, "start", room=width - 26))
    return drawn


def _text(
    x: float, y: float, text: str, anchor: str, *, room: float = WIDTH, small: bool = False
) -> str:
    letters = max(4, int(room / CHARACTER))
    shown = text if len(text) <= letters else f"{text[: letters - 1]}…"
    kind = ' class="small"' if small else ""
    return (
        f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{html.escape(shown)}</text>"
    )


def _dot(x: float, y: float, kind: str, radius: float) -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'


def _path(places: Sequence[tuple[float, float]], kind: str) -> str:
    joined = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return f'<path class="line {kind}" d="M{joined}"/>' if places else ""


def _whisker(x: float, low: float, high: float) -> str:
    return (
        f'<path class="line c0" d="M{x:.1f} {low:.1f}V{high:.1f}'
        f'M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"/>'
    )
