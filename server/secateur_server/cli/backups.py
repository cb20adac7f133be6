"""``secateur backup | restore``: all that a server must not lose."""

import json
from pathlib import Path
from typing import Annotated

import typer

JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DATA = Annotated[Path, typer.Option(help="The server's folder.")]
DATABASE = Annotated[str | None, typer.Option(help="postgresql://...; none: SQLite in --data.")]
DEFAULT_DATA = Path("secateur-data")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(backup)
    app.command()(restore)


def backup(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="Gets all, keys included.")],
    data: DATA = DEFAULT_DATA,
    database: DATABASE = None,
    *,
    as_json: JSON = False,
) -> None:
    """Write registry, keys, certificates and database into one file."""
    from secateur_server.backup import back_up

    count = back_up(data, database, archive)
    size = archive.stat().st_size
    if as_json:
        typer.echo(json.dumps({"file": str(archive), "files": count, "bytes": size}))
    else:
        typer.echo(f"{archive}: {count} files, {size / 1e6:.1f} MB; it holds keys")


def restore(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="What 'backup' wrote.")],
    data: DATA = DEFAULT_DATA,
    database: DATABASE = None,
    *,
    as_json: JSON = False,
) -> None:
    """Bring a backup back into a new folder, and an empty database."""
    from secateur_server.backup import restore as bring_back

    count = bring_back(archive, data, database)
    if as_json:
        typer.echo(json.dumps({"data": str(data), "files": count}))
    else:
        typer.echo(f"{data}: {count} files are back; start 'secateur serve' on it")
