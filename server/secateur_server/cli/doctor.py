"""``secateur doctor``: is all well, and if not, what to do."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur_server.cli.operators import BROKER, DEFAULT_BROKER, JSON, SITE
from secateur_server.errors import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from secateur_server.doctor.finding import Finding

DATA = Annotated[Path, typer.Option(help="The server's folder; elsewhere it is left out.")]
DATABASE = Annotated[str | None, typer.Option(help="URL; none: SQLite in --data.")]
DEFAULT_DATA = Path("secateur-data")

COLORS = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "bright_black"}


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(doctor)


def doctor(
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    data: DATA = DEFAULT_DATA,
    database: DATABASE = None,
    *,
    as_json: JSON = False,
) -> int:
    """Check versions, clock, folder, database, registry, keys, broker and coordinator."""
    from datetime import UTC, datetime

    from secateur_server.doctor.examination import examine
    from secateur_server.doctor.finding import Finding, is_unwell

    findings = list[Finding]()
    for finding in examine(broker, site, data, database, datetime.now(UTC)):
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        typer.echo(json.dumps([_described(each) for each in findings]))
    return EXIT_FAILED if is_unwell(findings) else EXIT_OK


def _print(finding: "Finding") -> None:
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(
        (f"{finding.verdict:8}", COLORS[finding.verdict]),
        (f" {finding.check:12}", "bold"),
        f" {finding.text}",
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print(line)
    if finding.mend:
        console.print(Text(f"{'':22}-> {finding.mend}"))


def _described(finding: "Finding") -> dict[str, str]:
    return {
        "check": finding.check,
        "verdict": finding.verdict,
        "text": finding.text,
        "mend": finding.mend,
    }
