"""The page of ``secateur prune --report``: a ladder, its levels side by side."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from secateur_protocols.manifest import Accuracy, Ladder, Manifest
from secateur_server.pruning.advice import short_name
from secateur_server.pruning.allocation import Curve
from secateur_server.pruning.report.inspected import MOST_BARS, sensitivity_figure
from secateur_server.pruning.report.layers import Layer
from secateur_server.pruning.report.page import (
    Cell,
    figure,
    page,
    paragraph,
    section,
    table,
)
from secateur_server.pruning.report.svg import Bars, Point, Words, bars, scatter

Layers = Sequence[Layer]
"""All operators of one level, in order."""

Record = Mapping[str, Any]
"""What the pruner wrote beside the ladder."""

MOST_SERIES = 5
"""Levels in a plot of bars; the table has all."""


def ladder_page(ladder: Ladder, record: Record, layers: Sequence[Layers]) -> str:
    """Give the whole page.

    Args:
        ladder: As it is written.
        record: ``report.json``: ``left_out`` and ``not_followed``, and ``sensitivity`` of
            methods that rank groups.
        layers: One for each level, in order.
    """
    return page(
        f"{ladder.model} {ladder.version}, pruned",
        paragraph(_summary(ladder)),
        section("Levels", _levels(ladder)),
        section("Accuracy against latency", _trade(ladder)),
        section("Sizes before and after", _sizes(ladder)),
        section("Sensitivity by group", _sensitivity(record)),
        section("Layer by layer", *_by_layer(layers)),
        section("What was left out", _left_out(record)),
        section("What could not be followed", _not_followed(record)),
    )


def _summary(ladder: Ladder) -> str:
    latency, accuracy = ladder.levels[0].latency, ladder.levels[0].accuracy
    return (
        f"{len(ladder.levels)} levels; level 0 is the model as it was. Accuracy is "
        f"{accuracy.metric} on {accuracy.samples} samples that did not calibrate. Latency is "
        f"the median on {latency.engine}, {latency.machine}, {latency.threads} thread, all "
        "levels in turns."
    )


def _interval(accuracy: Accuracy) -> str | None:
    if accuracy.low is None or accuracy.high is None:
        return None
    return f"{accuracy.low:.3f} to {accuracy.high:.3f}"


def _levels(ladder: Ladder) -> str:
    rows: list[Sequence[Cell]] = [
        (
            f"{each.level} {each.method}",
            f"{each.accuracy.value:.4f}",
            _interval(each.accuracy),
            each.latency.p50_ms,
            each.latency.p95_ms,
            each.macs,
            each.parameters,
            each.size_bytes,
            each.compressed_bytes,
            each.peak_memory_bytes,
            each.precision.value,
        )
        for each in ladder.levels
    ]
    columns = (
        "level",
        ladder.levels[0].accuracy.metric.value,
        "95 % interval",
        "p50 ms",
        "p95 ms",
        "MACs",
        "parameters",
        "bytes",
        "compressed",
        "peak memory",
        "precision",
    )
    return table("All levels, as measured", columns, rows)


def _trade(ladder: Ladder) -> str:
    points = [
        Point(
            each.latency.p50_ms,
            each.accuracy.value,
            str(each.level),
            each.accuracy.low,
            each.accuracy.high,
        )
        for each in ladder.levels
    ]
    first, last = ladder.levels[0], ladder.levels[-1]
    words = Words(
        "Accuracy against latency",
        f"Level 0 reaches {first.accuracy.value:.3f} at {first.latency.p50_ms:.4g} ms, level "
        f"{last.level} {last.accuracy.value:.3f} at {last.latency.p50_ms:.4g} ms.",
        "median latency, ms",
        first.accuracy.metric.value,
    )
    caption = "Each point is a level, by its number."
    if first.accuracy.low is not None:
        caption += (
            f" The bars are 95 % intervals: so far {first.accuracy.samples} samples tell. "
            "Levels whose bars overlap widely may be equally accurate."
        )
    return figure(scatter(words, points), caption)


def _sizes(ladder: Ladder) -> str:
    shown = _picked(ladder.levels)
    measures: tuple[tuple[str, Callable[[Manifest], float | None]], ...] = (
        ("MACs", lambda each: each.macs),
        ("latency", lambda each: each.latency.p50_ms),
        ("file", lambda each: each.size_bytes),
        ("file, compressed", lambda each: each.compressed_bytes),
        ("parameters", lambda each: each.parameters),
        ("peak memory", lambda each: each.peak_memory_bytes),
    )
    rows = [
        Bars(name, tuple(_percent(of(each), of(ladder.levels[0])) for each in shown))
        for name, of in measures
    ]
    words = Words(
        "Sizes before and after",
        "For each measure one bar per level, the dense level first, in per cent of it.",
        "% of the dense level",
    )
    series = [f"level {each.level}" for each in shown]
    caption = "Shorter is less; the table above has all numbers."
    return figure(bars(words, rows, series), caption)


def _picked(levels: Sequence[Manifest]) -> list[Manifest]:
    """Choose the levels to plot: both ends, and some evenly between."""
    count = min(MOST_SERIES, len(levels))
    return [levels[round(k * (len(levels) - 1) / max(count - 1, 1))] for k in range(count)]


def _percent(value: float | None, dense: float | None) -> float | None:
    return None if value is None or not dense else round(100 * value / dense, 1)


def _sensitivity(record: Record) -> str:
    known = [
        (each["group"], Curve(tuple(each["widths"]), tuple(each["losses"])))
        for each in record.get("sensitivity", ())
    ]
    if not known:
        return paragraph("This method ranks no groups.", is_soft=True)
    known.sort(key=lambda each: -each[1].losses[0])
    return sensitivity_figure(known, "on the calibration set")


def _by_layer(layers: Sequence[Layers]) -> list[str]:
    before, after = layers[0], {each.name: each for each in layers[-1]}
    level = len(layers) - 1
    told = [
        _layer_plot(before, after, "MACs", level, lambda each: float(each.macs)),
        _layer_plot(before, after, "channels", level, lambda each: float(each.channels)),
        _layer_plot(
            before,
            after,
            "latency, microseconds",
            level,
            lambda each: None if each.latency_ms is None else each.latency_ms * 1e3,
        ),
    ]
    caption = paragraph(
        "Operators are measured alone, so that they add up to a little more or less than the "
        "network. An operator without a bar for the narrow level has left.",
        is_soft=True,
    )
    return [caption, *told, _layer_table(layers)]


def _layer_plot(
    before: Sequence[Layer],
    after: Mapping[str, Layer],
    what: str,
    level: int,
    of: Callable[[Layer], float | None],
) -> str:
    shown = _largest(before, of)
    rows = [
        Bars(f"#{k} {each.kind}", tuple(of(one) for one in (each, after.get(each.name)) if one))
        for k, each in shown
    ]
    if not rows:
        return ""
    words = Words(
        f"Layer by layer: {what}",
        f"Operators with weights, {what} in level 0 and in level {level}.",
        what,
    )
    series = ("level 0", f"level {level}")
    weighted = sum(1 for each in before if each.macs)
    few = f"The {len(rows)} largest of {weighted}" if len(rows) < weighted else "All"
    return figure(bars(words, rows, series), f"{few} operators with weights: {what}.")


def _largest(
    layers: Sequence[Layer], of: Callable[[Layer], float | None]
) -> list[tuple[int, Layer]]:
    """Choose the operators with weights that are worth a bar, in the network's order."""
    weighted = [(k, each) for k, each in enumerate(layers) if each.macs]
    largest = sorted(weighted, key=lambda each: -(of(each[1]) or 0.0))[:MOST_BARS]
    return sorted(largest, key=lambda each: each[0])


def _layer_table(layers: Sequence[Layers]) -> str:
    by_name = [{each.name: each for each in held} for held in layers]
    rows: list[Sequence[Cell]] = []
    for k, each in enumerate(layers[0]):
        found = [held.get(each.name) for held in by_name]
        rows.append(
            (
                f"#{k} {each.kind}",
                short_name(each.name),
                _arrows(found, lambda layer: layer.channels),
                _arrows(found, lambda layer: layer.macs),
                _arrows(found, _microseconds),
            )
        )
    columns = ("operator", "output", "channels", "MACs", "microseconds")
    return table("Every operator, from level to level", columns, rows)


def _microseconds(layer: Layer) -> float:
    return round((layer.latency_ms or 0.0) * 1e3, 1)


def _arrows(found: Sequence[Layer | None], of: Callable[[Layer], float]) -> str:
    """Write what an operator has in each level; once, if nothing changes."""
    told = ["left" if layer is None else f"{of(layer):,}" for layer in found]
    return told[0] if len(set(told)) == 1 else " →\N{NO-BREAK SPACE}".join(told)


def _left_out(record: Record) -> str:
    rows = [(each["rule"], each["reason"]) for each in record.get("left_out", ())]
    told = table("Candidates that are no level", ("candidate", "why"), rows)
    return told or paragraph("Nothing: every candidate is a level.", is_soft=True)


def _not_followed(record: Record) -> str:
    rows = [
        (each["operator"], each["index"], each["reason"])
        for each in record.get("not_followed", ())
    ]
    told = table("Channels that touch these stay", ("operator", "#", "why"), rows)
    return told or paragraph("Everything could be followed.", is_soft=True)
