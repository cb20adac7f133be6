"""``secateur publish | serve | devices | policy | pin | rebirth | forget``."""

import json
import logging
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from secateur_server.errors import InputError
from secateur_server.settings import ServeSettings, read_settings

BROKER = Annotated[str, typer.Option(help="Where the broker is.", envvar="SECATEUR_BROKER")]
SITE = Annotated[str, typer.Option(help="Which site.")]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_DATA = Path("secateur-data")
DEFAULT_BROKER = "mqtt://127.0.0.1:1883"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(publish)
    app.command()(serve)
    app.command()(devices)
    app.command()(rebirth)
    app.command()(forget)
    app.command()(pin)
    policy = typer.Typer(help="Deadlines, floors and patience.")
    policy.command("set")(set_policy)
    policy.command("show")(show_policy)
    app.add_typer(policy, name="policy")


def publish(
    ladder_dir: Annotated[Path, typer.Argument(metavar="DIR", help="What 'prune' wrote.")],
    data: Annotated[Path, typer.Option(help="The server's folder.")] = DEFAULT_DATA,
    *,
    as_json: JSON = False,
) -> None:
    """Add a ladder to the registry; a running 'serve' takes it up within a second."""
    from secateur_server.registry.registry import Registry

    published = Registry(data / "registry").publish(ladder_dir)
    ladder = published.ladder
    if as_json:
        summary = {
            "model": ladder.model,
            "version": ladder.version,
            "levels": len(ladder.levels),
            "digest": published.ref.digest,
        }
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"published {ladder.model} {ladder.version}: {len(ladder.levels)} levels")


def serve(
    config: Annotated[Path | None, typer.Option(help="server.toml")] = None,
    broker: Annotated[str | None, typer.Option(help="mqtt://host:port; none: our own.")] = None,
    broker_port: Annotated[int | None, typer.Option(help="Of our own broker.")] = None,
    data: Annotated[Path | None, typer.Option(help="Registry and database.")] = None,
    site: Annotated[str | None, typer.Option(help="Which site.")] = None,
    http_host: Annotated[str | None, typer.Option(help="Where blobs are served.")] = None,
    http_port: Annotated[int | None, typer.Option(help="0: a free one.")] = None,
    public_url: Annotated[str | None, typer.Option(help="How devices reach blobs.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Gets addresses as JSON.")] = None,
    *,
    amqtt: Annotated[bool | None, typer.Option(help="Our own broker is amqtt.")] = None,
) -> None:
    """Run the coordinator, and a broker where none is named, until stopped."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    options = {
        "broker": broker,
        "broker_port": broker_port,
        "data": data,
        "site": site,
        "http_host": http_host,
        "http_port": http_port,
        "public_url": public_url,
        "amqtt": amqtt,
    }
    _serve(read_settings(config, options), ready_file)


def _serve(settings: ServeSettings, ready_file: Path | None) -> None:
    from secateur_server.adapters.artifacts_http import ArtifactsServer
    from secateur_server.adapters.embedded_broker import EmbeddedBroker
    from secateur_server.adapters.files import write_atomically
    from secateur_server.adapters.store import Store
    from secateur_server.driver import Driver
    from secateur_server.registry.registry import Registry

    registry = Registry(settings.data / "registry")
    store = Store(settings.data / "secateur.sqlite", settings.site)
    http = ArtifactsServer(registry.blobs_dir, host=settings.http_host, port=settings.http_port)
    own = None
    if settings.broker is None:
        own = EmbeddedBroker(
            settings.data / "broker", settings.broker_port, prefer_amqtt=settings.amqtt
        )
    try:
        http.start()
        url = settings.public_url or f"http://{settings.http_host}:{http.port}/blobs"
        driver = Driver(
            site=settings.site,
            broker_url=own.url if own else settings.broker or "",
            artifacts_url=url,
            store=store,
            registry=registry,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: driver.quit())
        driver.start()
        addresses = {"broker": own.url if own else settings.broker, "artifacts": url}
        typer.echo(f"broker {addresses['broker']} ({own.name if own else 'yours'})")
        typer.echo(f"artifacts {url}\nready")
        if ready_file is not None:
            write_atomically(ready_file, json.dumps(addresses).encode())
        driver.run()
    finally:
        http.stop()
        store.close()
        if own is not None:
            own.stop()


def devices(
    broker: BROKER = DEFAULT_BROKER, site: SITE = "default", *, as_json: JSON = False
) -> None:
    """List the devices that the coordinator knows."""
    rows = _list_devices(broker, site)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("device", "state", "class", "model", "level", "p95 / deadline", "why")
    for row in rows:
        for model in row["models"] or [{}]:
            cells = (
                row["device"],
                row["state"],
                row["hardware_class"] or "-",
                model.get("model", "-"),
                _level(model),
                _latency(model),
                model.get("reason") or "-",
            )
            # What a device says of itself is no markup.
            table.add_row(*map(escape, cells))
    Console().print(table)


def _list_devices(broker: str, site: str) -> list[dict[str, Any]]:
    from secateur_protocols.control import ListDevices
    from secateur_server.adapters.operator import OperatorClient

    client = OperatorClient(broker, site)
    rows: list[dict[str, Any]] = []
    try:
        while True:
            after = rows[-1]["device"] if rows else ""
            page: Any = client.request(ListDevices(after=after)).result
            rows += page["devices"]
            if not page["more"]:
                return rows
    finally:
        client.close()


def _level(model: dict[str, Any]) -> str:
    if "level" not in model:
        return "-"
    level, desired = model["level"], model["desired_level"]
    return f"{level}" if desired in {None, level} else f"{level} -> {desired}"


def _latency(model: dict[str, Any]) -> str:
    if model.get("p95_ms") is None:
        return "-"
    return f"{model['p95_ms']:.2f} / {model['deadline_ms']:.2f} ms"


def set_policy(
    device: Annotated[str | None, typer.Option(help="None: every device.")] = None,
    model: Annotated[str | None, typer.Option(help="None: every model.")] = None,
    deadline_ms: Annotated[float | None, typer.Option(help="p95 stays below.")] = None,
    accuracy_floor: Annotated[float | None, typer.Option(help="0 to 1.")] = None,
    headroom: Annotated[float | None, typer.Option(help="Free share, 0 to 1.")] = None,
    patience: Annotated[int | None, typer.Option(help="Periods.")] = None,
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    *,
    clear: Annotated[bool, typer.Option(help="Forget what was set here first.")] = False,
) -> None:
    """Set policy for a device and model, or for every one."""
    change = {
        "deadline_ms": deadline_ms,
        "accuracy_floor": accuracy_floor,
        "headroom": headroom,
        "patience": patience,
    }
    _request(
        broker,
        site,
        {
            "action": "set_policy",
            "device": device,
            "model": model,
            "change": change,
            "clear": clear,
        },
    )


def show_policy(
    broker: BROKER = DEFAULT_BROKER, site: SITE = "default", *, as_json: JSON = False
) -> None:
    """Show all policy that is set."""
    rows: Any = _request(broker, site, {"action": "show_policy"})
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        scope = f"{row.pop('device') or 'every device'}, {row.pop('model') or 'every model'}"
        typer.echo(f"{scope}: {', '.join(f'{key} {value}' for key, value in row.items())}")


def pin(
    device: str,
    model: str,
    level: Annotated[str, typer.Argument(help="A level, or 'none' to let the planner decide.")],
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
) -> None:
    """Hold a model on a device at one level. 'none' clears what was set for this pair."""
    if level != "none" and not level.isdigit():
        raise InputError(f"level {level!r} is neither a number nor 'none'")
    pinned = None if level == "none" else int(level)
    action = {
        "action": "set_policy",
        "device": device,
        "model": model,
        "change": {"pinned_level": pinned},
        "clear": pinned is None,
    }
    _request(broker, site, action)


def rebirth(
    device: Annotated[str | None, typer.Argument(help="None: every device.")] = None,
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
) -> None:
    """Have a device, or all, say everything again."""
    _request(broker, site, {"action": "rebirth", "device": device})


def forget(device: str, broker: BROKER = DEFAULT_BROKER, site: SITE = "default") -> None:
    """Forget a device; one that is alive comes back by itself."""
    _request(broker, site, {"action": "forget", "device": device})


def _request(broker: str, site: str, action: dict[str, Any]) -> object:
    from pydantic import TypeAdapter, ValidationError

    from secateur_protocols.codec import first_problem
    from secateur_protocols.control import Action
    from secateur_server.adapters.operator import OperatorClient

    try:
        parsed = TypeAdapter[Action](Action).validate_python(action)
    except ValidationError as error:
        raise InputError(first_problem(error)) from error
    client = OperatorClient(broker, site)
    try:
        return client.request(parsed).result
    finally:
        client.close()
