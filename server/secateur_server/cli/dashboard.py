"""``secateur dashboard``: the fleet in a browser."""

import json
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from secateur_server.cli.operators import BROKER, DEFAULT_BROKER, SITE

HOST = "127.0.0.1"
PORT = 8009


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(dashboard)


def dashboard(
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    host: Annotated[str, typer.Option(help="Where to listen.")] = HOST,
    port: Annotated[int, typer.Option(help="0: a free one.", min=0, max=65_535)] = PORT,
    public_url: Annotated[str | None, typer.Option(help="How browsers reach it.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Gets the address as JSON.")] = None,
) -> None:
    """Show the fleet in a browser, until stopped; users log in with broker accounts."""
    from secateur_server.adapters.files import write_atomically
    from secateur_server.dashboard.server import DashboardServer, DashboardSettings

    server = DashboardServer(
        DashboardSettings(
            broker_url=broker, site=site, host=host, port=port, public_url=public_url
        )
    )
    is_over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_over.set())
    server.start()
    typer.echo(f"dashboard {server.url}")
    if ready_file is not None:
        write_atomically(ready_file, json.dumps({"dashboard": server.url}).encode())
    while not is_over.wait(1.0) and server.is_running:
        pass
    server.stop()
