"""``secateur bench``: how fast models run here."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur_server.cli.pruning import JSON, check_report, progress_bar

if TYPE_CHECKING:
    from secateur_server.bench import Found


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Ladders, or .tflite files.")
    ],
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="For each level.")] = 3.0,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Of the engine.")] = 1,
    report: Annotated[
        Path | None, typer.Option(help="Write table and plot as one page, say bench.html.")
    ] = None,
    *,
    as_json: JSON = False,
) -> None:
    """Measure each level on this machine: latency, memory, and energy where it tells."""
    from secateur_server.bench import measure, read_subjects

    check_report(report)
    subjects = read_subjects(paths)
    with progress_bar("measuring") as progress:
        found = measure(
            subjects,
            seconds=seconds,
            threads=threads,
            tick=lambda share: progress(share, "measuring"),
        )
    if report is not None:
        from secateur_server.adapters.files import write_atomically
        from secateur_server.pruning.report.measured import bench_page

        write_atomically(report, bench_page(found, threads).encode())
    if as_json:
        typer.echo(json.dumps({"threads": threads, "levels": [asdict(each) for each in found]}))
    else:
        _show(found)


def _show(found: "list[Found]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("model", "p50 ms", "p95 ms", "p99 ms", "of first", "file kB", "memory MB")
    is_metered = any(each.energy_mj is not None for each in found)
    if is_metered:
        table.add_column("mJ")
    for each in found:
        cells = [
            escape(each.name),
            f"{each.p50_ms:.3f}",
            f"{each.p95_ms:.3f}",
            f"{each.p99_ms:.3f}",
            f"{each.p50_ms / found[0].p50_ms:.2f}",
            f"{each.size_bytes / 1e3:.1f}",
            "-" if each.memory_bytes is None else f"{each.memory_bytes / 1e6:.1f}",
        ]
        energy = "-" if each.energy_mj is None else f"{each.energy_mj:.2f}"
        table.add_row(*cells, *([energy] if is_metered else []))
    Console().print(table)
