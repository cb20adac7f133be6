"""``secateur home-assistant``: devices of a site as devices of Home Assistant."""

import logging
import signal
from typing import Annotated

import typer

from secateur_protocols.logs import LogForm, log_to_stderr
from secateur_server.cli.operators import BROKER, DEFAULT_BROKER, SITE

PREFIX = Annotated[str, typer.Option(help="Home Assistant's discovery prefix.")]
LOG_FORMAT = Annotated[LogForm, typer.Option(help="Of lines on stderr.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(home_assistant)


def home_assistant(
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    discovery_prefix: PREFIX = "homeassistant",
    log_format: LOG_FORMAT = LogForm.CONSOLE,
) -> None:
    """Announce a site's devices to Home Assistant on the same broker, until stopped."""
    from secateur_server.home_assistant.bridge import Bridge
    from secateur_server.home_assistant.entities import Topics

    log_to_stderr(log_format, logging.WARNING)
    bridge = Bridge(broker, Topics(site, discovery_prefix))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: bridge.quit())
    bridge.start()
    typer.echo("ready")
    bridge.run()
