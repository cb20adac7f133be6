"""``secateur demo``."""

import json
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur_server.errors import InputError, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from secateur_protocols.manifest import Ladder
    from secateur_server.demo.observer import Observer

EXAMPLE = Path("examples/digits")

QUICK_SEARCH = 1
"""Networks tried per level: the demo is about devices, and nobody likes to wait for them."""


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(demo)


def demo(
    model: Annotated[Path | None, typer.Option(help="Your .tflite; none: the digits.")] = None,
    data: Annotated[Path | None, typer.Option(help="Your .npz with x and y.")] = None,
    seconds: Annotated[float, typer.Option(help="How long at least.", min=5, max=3600)] = 45.0,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the summary.")] = None,
    *,
    headless: Annotated[bool, typer.Option(help="Print lines, draw no table.")] = False,
    amqtt: Annotated[bool, typer.Option(help="Use amqtt also where Mosquitto is.")] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show it in a browser, until Ctrl-C.")
    ] = False,
) -> None:
    """Run the main job on this machine: broker, coordinator, three agents, all real."""
    folder = Path(tempfile.mkdtemp(prefix="secateur-demo-"))
    # Whoever asks us to end gets the same tidy end as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        port = _dashboard_port() if dashboard else None
        summary = _run(
            folder, model, data, seconds, headless=headless, amqtt=amqtt, dashboard_port=port
        )
    except (InputError, KeyboardInterrupt):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except ServerError as error:
        raise ServerError(f"{error} (logs in {folder})") from error
    shutil.rmtree(folder, ignore_errors=True)
    if json_path is not None:
        from secateur_server.adapters.files import write_atomically

        write_atomically(json_path, json.dumps(summary, indent=1).encode())
    _print_summary(summary)


def _run(
    folder: Path,
    model: Path | None,
    data: Path | None,
    seconds: float,
    *,
    headless: bool,
    amqtt: bool,
    dashboard_port: int | None,
) -> dict[str, Any]:
    from secateur_protocols.topics import ANY, Leaf, device_topic
    from secateur_server.adapters.operator import OperatorClient
    from secateur_server.demo.fleet import Fleet
    from secateur_server.demo.observer import Observer
    from secateur_server.demo.play import Play
    from secateur_server.demo.scenario import make_scenario

    model_path, calibration, evaluation = _inputs(folder, model, data)
    typer.echo(f"pruning {model_path.name} into a ladder")
    ladder = _prune(folder, model_path, calibration, evaluation)
    scenario = make_scenario(ladder)
    names = tuple(device.name for device in scenario.devices)
    topics = tuple(device_topic("demo", ANY, leaf) for leaf in (Leaf.TELEMETRY, Leaf.DESIRED))
    with Fleet(folder, prefer_amqtt=amqtt, dashboard_port=dashboard_port) as fleet:
        if fleet.dashboard_url is not None:
            typer.echo(f"dashboard {fleet.dashboard_url}")
        root = _publish_signed(folder / "ladder", folder)
        client = OperatorClient(fleet.broker_url, "demo", topics=topics)
        fleet.start_agents(scenario, model=ladder.model, data=evaluation, root=root)
        with _drawing(headless=headless) as draw:
            play = Play(
                fleet, client, Observer(names), scenario, ladder, seconds=seconds, draw=draw
            )
            devices = play.run()
            if fleet.dashboard_url is not None:
                devices = play.linger()
        client.close()
    return {"model": ladder.model, "levels": len(ladder.levels), "devices": devices}


def _dashboard_port() -> int:
    """Take the usual port if it is free, else any."""
    import socket

    from secateur_server.cli.dashboard import HOST, PORT

    try:
        socket.create_server((HOST, PORT)).close()
    except OSError:
        return 0
    return PORT


def _publish_signed(ladder_dir: Path, folder: Path) -> Path:
    """Publish with keys that live as long as the demo, and name the root that devices get."""
    from datetime import UTC, datetime

    from secateur_server.cli.coordinator import signing
    from secateur_server.registry.registry import Registry
    from secateur_server.signing.ceremony import Plan, initialize
    from secateur_server.signing.places import Places
    from secateur_server.signing.sealed import Passphrases

    places = Places(folder / "server", (folder / "keys",))
    passphrase = secrets.token_urlsafe()
    plan = Plan(root_keys=1, root_threshold=1)
    initialize(places, plan, passphrase, datetime.now(UTC))
    sign = signing(places, Passphrases([passphrase]), [])
    Registry(folder / "server" / "registry").publish(ladder_dir, sign=sign)
    return places.repository.folder / "1.root.json"


def _inputs(folder: Path, model: Path | None, data: Path | None) -> tuple[Path, Path, Path]:
    if (model is None) != (data is None):
        raise InputError("give both --model and --data, or neither")
    if model is None or data is None:
        path = EXAMPLE / "digits.tflite"
        if not path.exists():
            raise InputError(f"{path} is not here: run from the repository, or give --model")
        return path, EXAMPLE / "calibration.npz", EXAMPLE / "evaluation.npz"
    from secateur_server.demo.data import split

    return model, *split(data, folder)


def _prune(folder: Path, model: Path, calibration: Path, evaluation: Path) -> "Ladder":
    from secateur_server.pruning.pruner import PruneRequest, prune
    from secateur_server.pruning.task import Options

    request = PruneRequest(
        model_path=model,
        calibration_path=calibration,
        evaluation_path=evaluation,
        out_dir=folder / "ladder",
        method="channel",
        options=Options(search=QUICK_SEARCH),
    )
    return prune(request)


class _Drawing:
    """A live table on a terminal, or a line when an act begins."""

    def __init__(self, *, headless: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console()
        self._live = None if headless or not console.is_terminal else Live(console=console)
        self._title = ""

    def __enter__(self) -> "Callable[[Observer, str], None]":
        if self._live is not None:
            self._live.start()
        return self._draw

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _draw(self, observer: "Observer", title: str) -> None:
        if self._live is not None:
            from secateur_server.demo.show import table

            self._live.update(table(observer, title))
        elif title != self._title:
            levels = ", ".join(f"{n} level {s.level}" for n, s in observer.devices.items())
            typer.echo(f"{title} ({levels})")
        self._title = title


def _drawing(*, headless: bool) -> _Drawing:
    return _Drawing(headless=headless)


def _print_summary(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "device",
        "switches",
        "answered",
        "lost",
        "deadline misses",
        "accuracy",
        title=f"{summary['model']}: {summary['levels']} levels, simulated hardware",
    )
    for name, device in summary["devices"].items():
        accuracy = device["accuracy"]
        table.add_row(
            name,
            str(device["switches"]),
            str(device["answered"]),
            str(device["lost_inferences"]),
            str(device["deadline_misses"]),
            "-" if accuracy is None else f"{accuracy:.3f}",
        )
    Console().print(table)
