"""``secateur protocol export``: the wire, described for other programs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from secateur_server.errors import InputError

OUT = Annotated[Path, typer.Option(metavar="DIR", help="Where to; made if it is not there.")]
DEFAULT_OUT = Path("docs/protocol")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    protocol = typer.Typer(help="What travels over MQTT.")
    # A callback keeps 'export' a subcommand while it is the only one.
    protocol.callback()(lambda: None)
    protocol.command()(export)
    app.add_typer(protocol, name="protocol")


def export(out: OUT = DEFAULT_OUT) -> None:
    """Write an AsyncAPI 3 document and a JSON Schema of each message."""
    from secateur_server.adapters.files import write_atomically
    from secateur_server.asyncapi import asyncapi_document, json_schemas

    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder as --out")
    documents = {out / "asyncapi.json": asyncapi_document()}
    documents |= {out / "schemas" / f"{name}.json": s for name, s in json_schemas().items()}
    for path, document in documents.items():
        text = json.dumps(document, indent=2, ensure_ascii=False)
        write_atomically(path, f"{text}\n".encode())
    typer.echo(f"wrote {len(documents)} files to {out}")
