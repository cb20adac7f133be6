"""``secateur prune | inspect``."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur_server.errors import InputError

if TYPE_CHECKING:
    from secateur_protocols.manifest import Ladder

JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AMOUNTS = {
    "absolute": "threshold",
    "relative": "threshold",
    "magnitude": "sparsity",
    "channel": "ratio",
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(prune)
    app.command()(inspect)


def prune(
    model_path: Annotated[Path, typer.Argument(metavar="MODEL", help="A float32 .tflite.")],
    calibration: Annotated[Path, typer.Option(help=".npz with x.")],
    evaluation: Annotated[Path, typer.Option(help=".npz with x and, if known, y.")],
    out: Annotated[Path, typer.Option(help="A new folder for the ladder.")],
    method: Annotated[str, typer.Option(help="absolute, relative, magnitude, channel.")] = (
        "channel"
    ),
    threshold: Annotated[float | None, typer.Option(help="absolute, relative.")] = None,
    sparsity: Annotated[float | None, typer.Option(help="magnitude: share of zeros.")] = None,
    ratio: Annotated[float | None, typer.Option(help="channel: share of channels.")] = None,
    levels: Annotated[
        int | None, typer.Option(help="Of the ladder, with the dense one.")
    ] = None,
    saliency: Annotated[str, typer.Option(help="obs, l1, random.")] = "obs",
    model: Annotated[str | None, typer.Option(help="Name; none: the file's.")] = None,
    version: Annotated[str, typer.Option(help="Of the ladder.")] = "1",
    threads: Annotated[int, typer.Option(help="For measuring latency.", min=1)] = 1,
    *,
    as_json: JSON = False,
) -> None:
    """Prune a model into a ladder. Exit codes: 2 bad input, 3 nothing to prune."""
    amount = _amount(method, {"threshold": threshold, "sparsity": sparsity, "ratio": ratio})
    from rich.console import Console
    from rich.progress import Progress

    from secateur_server.pruning.pruner import Method, PruneRequest
    from secateur_server.pruning.pruner import prune as run
    from secateur_server.pruning.saliency import Saliency

    if saliency not in list(Saliency):
        raise InputError(f"--saliency {saliency!r} is none of {', '.join(Saliency)}")
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("pruning", total=1.0)
        request = PruneRequest(
            model_path=model_path,
            calibration_path=calibration,
            evaluation_path=evaluation,
            out_dir=out,
            method=Method(method),
            amount=amount,
            levels=levels,
            saliency=Saliency(saliency),
            model=model,
            version=version,
            threads=threads,
            progress=lambda share, what: bar.update(task, completed=share, description=what),
        )
        ladder = run(request)
    if as_json:
        typer.echo(ladder.model_dump_json(exclude_none=True))
    else:
        show_ladder(ladder)


def _amount(method: str, given: dict[str, float | None]) -> float | None:
    if method not in AMOUNTS:
        raise InputError(f"--method {method!r} is none of {', '.join(AMOUNTS)}")
    takes = AMOUNTS[method]
    for name, value in given.items():
        if name != takes and value is not None:
            raise InputError(f"--method {method} takes --{takes}, not --{name}")
    return given[takes]


def show_ladder(ladder: "Ladder") -> None:
    """Print a ladder as a table."""
    from rich.console import Console
    from rich.table import Table

    first = ladder.levels[0]
    table = Table(
        "level", "method", "MACs", "bytes", "p50 ms", "accuracy", title=f"{ladder.model} ladder"
    )
    for each in ladder.levels:
        table.add_row(
            str(each.level),
            each.method,
            f"{each.macs:,} ({each.macs / max(first.macs, 1):.0%})",
            f"{each.size_bytes:,}",
            f"{each.latency.p50_ms:.4f}",
            f"{each.accuracy.value:.4f} ({each.accuracy.metric}, n={each.accuracy.samples})",
        )
    Console().print(table)
    typer.echo(
        f"latency: {first.latency.engine}, {first.latency.machine}, "
        f"{first.latency.threads} thread, levels in turns"
    )


def inspect(
    model_path: Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite file.")],
    *,
    as_json: JSON = False,
) -> None:
    """Show operators, shapes, MACs, parameters, bytes and channel groups."""
    from secateur_server.pruning.inspection import inspect_model

    found = inspect_model(model_path)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    operators = Table(
        "#", "operator", "input", "output", "MACs", "parameters", title="operators"
    )
    for row in found["operators"]:
        operators.add_row(
            str(row["index"]),
            row["kind"],
            str(row["input"]),
            str(row["output"]),
            f"{row['macs']:,}",
            f"{row['parameters']:,}",
        )
    console.print(operators)
    groups = Table(
        "group", "channels", "producers", "consumers", "frozen", title="channel groups"
    )
    for row in found["groups"]:
        groups.add_row(
            row["name"],
            str(row["size"]),
            str(row["producers"]),
            str(row["consumers"]),
            row["frozen"] or "-",
        )
    console.print(groups)
    typer.echo(
        f"{found['bytes']:,} bytes, {found['macs']:,} MACs, {found['parameters']:,} parameters"
    )
