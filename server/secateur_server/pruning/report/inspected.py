"""The page of ``secateur inspect --report``: facts and advice."""

from collections.abc import Sequence

from secateur_server.pruning.advice import Advice, short_name
from secateur_server.pruning.allocation import Curve
from secateur_server.pruning.facts import Facts, GroupFacts, OperatorFacts
from secateur_server.pruning.report.page import (
    bullets,
    code,
    figure,
    heading,
    page,
    paragraph,
    section,
    table,
)
from secateur_server.pruning.report.svg import Bars, Line, Words, bars, lines

MOST_BARS = 24
"""Operators in a plot; the table below has all."""

MOST_LINES = 8
"""Groups in a plot; the table below has all."""


def inspection_page(facts: Facts, advice: Advice) -> str:
    """Give the whole page."""
    return page(
        f"{facts.name}, inspected",
        paragraph(_summary(facts)),
        section(
            "How well it prunes",
            paragraph(f"{advice.ease}.".capitalize()),
            bullets(advice.reasons),
        ),
        section("Which method fits which shortage", *_recommended(advice)),
        section("Where the time goes", _latencies(facts)),
        section("What each group is missed", _sensitivity(facts)),
        section("Channel groups", _groups(facts.groups)),
        section("Operators", _operators(facts)),
        section("What could not be followed", _not_followed(facts)),
    )


def _summary(facts: Facts) -> str:
    told = (
        f"{facts.precision}, {facts.bytes:,} bytes, {facts.macs:,} multiply-accumulates "
        f"(MACs), {facts.parameters:,} parameters, {len(facts.operators)} operators."
    )
    if facts.refusal:
        return f"{told} The engine does not run it: {facts.refusal}"
    timing = facts.timing
    if timing is not None:
        told += (
            f" One inference takes {timing.p50_ms:.4g} ms (median) on {timing.engine}, "
            f"{timing.machine}, {timing.threads} thread."
        )
    return told


def _recommended(advice: Advice) -> list[str]:
    told = []
    for each in advice.recommendations:
        told.append(heading(f"Short of {each.shortage}"))
        if each.method is None:
            told.append(paragraph("Pruning helps hardly or not at all."))
        else:
            told.append(code(f"secateur prune MODEL {each.options} ..."))
        told.append(bullets(each.reasons))
    return told


def label(operator: OperatorFacts) -> str:
    """Name an operator in a plot."""
    return f"#{operator.index} {operator.kind}"


def _latencies(facts: Facts) -> str:
    timed = [each for each in facts.operators if each.latency_ms is not None]
    if not timed or facts.timing is None:
        return ""
    shown = sorted(timed, key=lambda each: -(each.latency_ms or 0))[:MOST_BARS]
    shown.sort(key=lambda each: each.index)
    words = Words(
        "Latency by operator",
        f"The {len(shown)} slowest operators in the order of the network, each measured alone.",
        "microseconds",
    )
    rows = [Bars(label(each), ((each.latency_ms or 0) * 1e3,)) for each in shown]
    which = f"The {len(shown)} slowest of {len(timed)}" if len(shown) < len(timed) else "All"
    caption = (
        f"{which} operators, each measured alone on {facts.timing.engine}, "
        f"{facts.timing.threads} thread: the fastest of several rounds."
    )
    return figure(bars(words, rows, ("latency",)), caption)


def _sensitivity(facts: Facts) -> str:
    known = [
        (each.name, each.curve)
        for each in sorted(facts.free_groups, key=lambda each: -each.macs)
        if each.curve is not None
    ]
    if not known:
        return paragraph("Not measured: give --calibration.", is_soft=True)
    return sensitivity_figure(known, f"{facts.calibration_samples} calibration samples")


def sensitivity_figure(known: Sequence[tuple[str, Curve]], basis: str) -> str:
    """Plot what each group loses at each width, with all numbers below.

    Args:
        known: Name and curve of each group; the first few are plotted.
        basis: What the curves are from, in words.
    """
    shown = known[:MOST_LINES]
    rows = [
        Line(
            short_name(name, 30),
            tuple(
                (100 * width / curve.widths[-1], 100 * loss)
                for width, loss in zip(curve.widths, curve.losses, strict=True)
            ),
        )
        for name, curve in shown
    ]
    words = Words(
        "Sensitivity by group",
        "One line per channel group: what is lost as it gets narrower. Flat lines are groups "
        "that are hardly missed.",
        "channels that stay, %",
        "output lost, %",
    )
    caption = (
        "Of what the readers of a group compute, the share that is lost when they make up for "
        f"its missing channels by least squares, each group alone; {basis}."
    )
    if len(known) > len(shown):
        caption += f" {len(shown)} of {len(known)} groups are shown, the table has all."
    return figure(lines(words, rows), caption, _curve_table(known))


def _curve_table(known: Sequence[tuple[str, Curve]]) -> str:
    rows = [
        (short_name(name, 60), width, 100 * loss)
        for name, curve in known
        for width, loss in zip(curve.widths, curve.losses, strict=True)
    ]
    return table("Loss by group and width", ("group", "channels", "lost, %"), rows)


def _groups(groups: Sequence[GroupFacts]) -> str:
    rows = [
        (
            short_name(each.name, 60),
            each.size,
            "yes" if each.is_free else f"no: {each.frozen or 'nothing reads it'}",
            " ".join(map(str, each.producers)) or None,
            " ".join(map(str, each.consumers)) or None,
            each.macs,
            None if each.latency_ms is None else each.latency_ms * 1e3,
        )
        for each in groups
    ]
    columns = ("group", "channels", "may shrink", "made by", "read by", "MACs", "microseconds")
    return table("Channels that leave together", columns, rows)


def _operators(facts: Facts) -> str:
    rows = [
        (
            label(each),
            "x".join(map(str, each.input)) or None,
            "x".join(map(str, each.output)) or None,
            each.macs,
            each.parameters,
            each.bytes,
            None if each.latency_ms is None else each.latency_ms * 1e3,
            "yes" if each.can_shrink else (f"no: {each.held_by}" if each.held_by else None),
        )
        for each in facts.operators
    ]
    columns = (
        "operator",
        "input",
        "output",
        "MACs",
        "parameters",
        "bytes",
        "microseconds",
        "may shrink",
    )
    return table("All operators", columns, rows)


def _not_followed(facts: Facts) -> str:
    rows = [(each.operator, each.index, each.reason) for each in facts.not_followed]
    told = table("Channels that touch these stay", ("operator", "#", "why"), rows)
    return told or paragraph("Everything could be followed.", is_soft=True)
