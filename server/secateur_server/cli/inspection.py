"""``secateur inspect``: what a model is made of, and what to do about it."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur_server.cli.pruning import JSON, check_report, progress_bar

if TYPE_CHECKING:
    from rich.table import Table

    from secateur_server.pruning.advice import Advice
    from secateur_server.pruning.facts import Facts, GroupFacts, OperatorFacts

SHORT = 20
"""Up to so many operators, or groups, are all shown."""

TOP = 10
"""Of more, so many: the slowest operators, or the groups with most multiply-accumulates."""

MARKS = (0.75, 0.5, 0.25)
"""Shares of a group's channels at which the table tells what is lost."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(inspect)


def inspect(
    model_path: Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite file.")],
    calibration: Annotated[
        Path | None, typer.Option(help=".npz with x: tells how much each group is missed.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write all of it as one page, say report.html.")
    ] = None,
    threads: Annotated[int, typer.Option(help="For measuring latency.", min=1)] = 1,
    *,
    is_all: Annotated[
        bool, typer.Option("--all", help="Show every operator and group.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Show what a model is made of, how easily it prunes, and which method fits."""
    from secateur_server.pruning.advice import advise
    from secateur_server.pruning.inspection import inspect_model

    check_report(report)
    with progress_bar("inspecting") as progress:
        facts = inspect_model(
            model_path, calibration_path=calibration, threads=threads, progress=progress
        )
    advice = advise(facts)
    if report is not None:
        from secateur_server.adapters.files import write_atomically
        from secateur_server.pruning.report.inspected import inspection_page

        write_atomically(report, inspection_page(facts, advice).encode())
    if as_json:
        typer.echo(json.dumps({**asdict(facts), "advice": asdict(advice)}))
    else:
        _show(facts, advice, is_all=is_all)


def _show(facts: "Facts", advice: "Advice", *, is_all: bool) -> None:
    from rich.console import Console

    console = Console()
    _say(_headline(facts))
    rows = _by_cost(facts.operators)
    if is_all or len(rows) <= SHORT:
        console.print(_operators(facts, facts.operators, "operators"))
    else:
        console.print(_kinds(facts))
        title = f"the {TOP} costliest of {len(rows)} operators (--all shows every one)"
        console.print(_operators(facts, rows[:TOP], title))
    groups = sorted(facts.free_groups, key=lambda each: -each.macs)
    if groups:
        shown = groups if is_all or len(groups) <= SHORT else groups[:TOP]
        console.print(_groups(facts, shown, len(groups)))
    if is_all and (held := [each for each in facts.groups if not each.is_free]):
        console.print(_held(held))
    if facts.timing is not None:
        _say(_timed(facts))
    if facts.refusal:
        _say(f"The engine does not run it, so nothing is measured: {facts.refusal}")
    for each in facts.not_followed if is_all else facts.not_followed[:TOP]:
        _say(f"Not followed: {each.operator} #{each.index}: {each.reason}")
    if not is_all and len(facts.not_followed) > TOP:
        _say(f"and {len(facts.not_followed) - TOP} more (--all shows every one)")
    _advise(advice)


def _headline(facts: "Facts") -> str:
    told = (
        f"{facts.name}: {facts.precision}, {facts.bytes:,} bytes, {facts.macs:,} MACs, "
        f"{facts.parameters:,} parameters, {len(facts.operators)} operators"
    )
    if facts.subgraphs > 1:
        told += f", {facts.subgraphs} subgraphs of which the first is told of"
    return told


def _timed(facts: "Facts") -> str:
    timing = facts.timing
    if timing is None:
        return ""
    return (
        f"Latency: {timing.engine}, {timing.machine}, {timing.threads} thread. The whole "
        f"network: {timing.p50_ms:.4g} ms (median). Each operator: alone, the fastest of "
        f"several rounds; together {facts.operators_ms:.4g} ms."
    )


def _by_cost(operators: Iterable["OperatorFacts"]) -> list["OperatorFacts"]:
    return sorted(operators, key=lambda each: (-(each.latency_ms or 0.0), -each.macs))


def _table(title: str, *columns: str, numbers: Iterable[str] = ()) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1), pad_edge=False
    )
    for column in columns:
        is_number = column in numbers
        table.add_column(
            column, justify="right" if is_number else "left", no_wrap=column != "why"
        )
    return table


COSTS = ("MACs", "bytes", "us", "%")


def _operators(facts: "Facts", operators: Sequence["OperatorFacts"], title: str) -> "Table":
    table = _table(title, "#", "operator", "output", *COSTS, "shrinks", numbers=("#", *COSTS))
    for each in operators:
        table.add_row(
            str(each.index),
            each.kind,
            "x".join(map(str, each.output)),
            f"{each.macs:,}",
            f"{each.bytes:,}",
            *_latency(each.latency_ms, facts.operators_ms),
            "yes" if each.can_shrink else "no" if each.held_by else "-",
        )
    return table


def _kinds(facts: "Facts") -> "Table":
    table = _table("by kind", "operator", "count", *COSTS, numbers=("count", *COSTS))
    kinds: dict[str, list[OperatorFacts]] = {}
    for each in facts.operators:
        kinds.setdefault(each.kind, []).append(each)
    sums = {
        kind: sum(each.latency_ms or 0.0 for each in found) for kind, found in kinds.items()
    }
    for kind, found in sorted(kinds.items(), key=lambda item: -sums[item[0]]):
        table.add_row(
            kind,
            str(len(found)),
            f"{sum(each.macs for each in found):,}",
            f"{sum(each.bytes for each in found):,}",
            *_latency(sums[kind] or None, facts.operators_ms),
        )
    return table


def _latency(latency_ms: float | None, total_ms: float) -> tuple[str, str]:
    if latency_ms is None:
        return "-", "-"
    return f"{latency_ms * 1e3:,.1f}", f"{latency_ms / max(total_ms, 1e-12):.0%}"


def _groups(facts: "Facts", groups: Sequence["GroupFacts"], count: int) -> "Table":
    title = f"channel groups that may shrink: {count}"
    if len(groups) < count:
        title += f", the {len(groups)} with most MACs (--all shows every one)"
    lost = [f"at {mark:.0%}" for mark in MARKS] if facts.calibration_samples else []
    columns = ("group", "channels", "from", "to", "MACs", *lost)
    table = _table(title, *columns, numbers=("channels", "MACs", *lost))
    for each in groups:
        table.add_row(
            _name(each.name),
            str(each.size),
            _indices(each.producers),
            _indices(each.consumers),
            f"{each.macs / max(facts.macs, 1):.0%}",
            *([_lost(each, mark) for mark in MARKS] if lost else []),
        )
    if lost:
        table.caption = (
            f"at 50%: share of its readers' output that is lost with half of its channels, "
            f"they making up for it; {facts.calibration_samples} samples"
        )
        table.caption_justify = "left"
    return table


def _lost(group: "GroupFacts", mark: float) -> str:
    if group.curve is None:
        return "-"
    width = min(group.curve.widths, key=lambda each: abs(each - mark * group.size))
    return f"{group.curve.loss(width):.1%}"


def _held(groups: Sequence["GroupFacts"]) -> "Table":
    columns = ("group", "channels", "why")
    table = _table("channel groups that stay", *columns, numbers=("channels",))
    for each in groups:
        table.add_row(_name(each.name), str(each.size), each.frozen or "nothing reads it")
    return table


def _name(name: str) -> str:
    from rich.markup import escape

    from secateur_server.pruning.advice import short_name

    return escape(short_name(name, 24))


def _indices(indices: Sequence[int], most: int = 4) -> str:
    told = " ".join(map(str, indices[:most]))
    return told + (" …" if len(indices) > most else "")


def _advise(advice: "Advice") -> None:
    _say(f"\nHow well it prunes: {advice.ease}", is_heading=True)
    for reason in advice.reasons:
        _say(f"- {reason}")
    for each in advice.recommendations:
        does = f"secateur prune {each.options}" if each.method else "pruning hardly helps"
        _say(f"\nShort of {each.shortage}: {does}", is_heading=True)
        for reason in each.reasons:
            _say(f"- {reason}")


def _say(text: str, *, is_heading: bool = False) -> None:
    """Print a paragraph, wrapped to the terminal; what is piped is not wrapped."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        typer.echo(text)
        return
    indent = "  " if text.startswith("- ") else ""
    rows = textwrap.wrap(text.strip(), console.width, subsequent_indent=indent)
    console.print("\n" * text.startswith("\n"), end="")
    console.print(Text("\n".join(rows), style="bold" if is_heading else ""))
