"""``secateur publish | withdraw | serve``: what runs on the coordinator's machine."""

import contextlib
import json
import logging
import signal
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur_protocols.logs import LogForm, log_to_stderr
from secateur_server.cli.keys import (
    DATA,
    DEFAULT_DATA,
    JSON,
    KEYS,
    PASSPHRASE_FILE,
    find_places,
    known_passphrases,
)
from secateur_server.coordinator.settings import ServeSettings, read_settings
from secateur_server.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from secateur_server.adapters.store import Store
    from secateur_server.coordinator.replicas import Replicas
    from secateur_server.core.context import Published
    from secateur_server.dashboard.child import DashboardChild
    from secateur_server.signing.places import Places
    from secateur_server.signing.sealed import Passphrases


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(publish)
    app.command()(withdraw)
    app.command()(serve)


def publish(
    ladder_dir: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="What 'prune' wrote.")
    ] = None,
    variant: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="In place of DIR: a .tflite of your own, the best first; may be repeated.",
        ),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(metavar="X.npz", help="Samples on which the variants are measured."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name of the variants' model.  [default: the first file's]"),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Another than DIR says.  [default of variants: 1]")
    ] = None,
    hardware: Annotated[
        list[str] | None,
        typer.Option(help="Only for devices of this hardware class; may be repeated."),
    ] = None,
    keys: KEYS = None,
    data: DATA = DEFAULT_DATA,
    passphrase_file: PASSPHRASE_FILE = None,
    *,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="For devices that accept unsigned ladders.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Add a ladder to the registry; a running 'serve' takes it up within a second."""
    from secateur_server.registry.registry import Registry
    from secateur_server.registry.reproducing import check_ladder

    places = find_places(data, keys)
    sign = None
    if places.repository.is_signed:
        sign = signing(places, known_passphrases(passphrase_file), hardware or [])
    elif not unsigned:
        raise InputError(
            f"{data} has no keys to sign with: make them with 'secateur keys init', or publish "
            "--unsigned for devices that accept that"
        )
    registry = Registry(data / "registry")
    with _ladder_folder(ladder_dir, variant or [], evaluation, model, version) as folder:
        for warning in check_ladder(folder):
            typer.echo(f"secateur: {warning}", err=True)
        published = registry.publish(folder, version=version, sign=sign)
    ladder = published.ladder
    if as_json:
        summary = {
            "model": ladder.model,
            "version": ladder.version,
            "levels": len(ladder.levels),
            "digest": published.ref.digest,
            "signed": sign is not None,
        }
        typer.echo(json.dumps(summary))
    else:
        how = "signed" if sign is not None else "unsigned"
        typer.echo(
            f"published {ladder.model} {ladder.version}: {len(ladder.levels)} levels, {how}"
        )
        if registry.stable()[ladder.model] != published:
            command = f"secateur rollout start {ladder.model} --version {ladder.version}"
            typer.echo(f"devices get it with: {command}")


@contextlib.contextmanager
def _ladder_folder(
    ladder_dir: Path | None,
    variants: list[Path],
    evaluation: Path | None,
    model: str | None,
    version: str | None,
) -> "Iterator[Path]":
    """Give the folder to publish: the one that is there, or one made of variants."""
    if ladder_dir is not None and not variants:
        yield ladder_dir
        return
    if ladder_dir is not None or not variants:
        raise InputError("give either a folder that 'prune' wrote, or each --variant FILE")
    if evaluation is None:
        raise InputError("give --evaluation X.npz: variants are measured on samples of yours")
    from secateur_server.cli.pruning import progress_bar
    from secateur_server.pruning.pruner import name_of
    from secateur_server.pruning.variants import VariantsRequest, describe_variants

    with tempfile.TemporaryDirectory() as folder:
        with progress_bar("measuring") as progress:
            request = VariantsRequest(
                paths=tuple(variants),
                evaluation_path=evaluation,
                out_dir=Path(folder) / "ladder",
                model=model or name_of(variants[0]),
                version=version or "1",
                progress=progress,
            )
            _, left_out = describe_variants(request)
        for each in left_out:
            typer.echo(f"secateur: {each.rule} is left out: {each.reason}", err=True)
        yield request.out_dir


def signing(
    places: "Places", passphrases: "Passphrases", hardware: list[str]
) -> "Callable[[Published], None]":
    """Open the key at once, and give what lists a ladder with it."""
    from pydantic import ValidationError

    from secateur_protocols.codec import first_problem
    from secateur_protocols.trust import LadderTerms
    from secateur_server.signing.listing import Lister

    lister = Lister(places, passphrases)

    def sign(published: "Published") -> None:
        ladder = published.ladder
        try:
            terms = LadderTerms(
                model=ladder.model, version=ladder.version, hardware_classes=tuple(hardware)
            )
        except ValidationError as error:
            raise InputError(f"--hardware: {first_problem(error)}") from error
        lister.allow(published.ref, terms, datetime.now(UTC))

    return sign


def withdraw(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[str, typer.Argument(help="Which of its versions.")],
    keys: KEYS = None,
    data: DATA = DEFAULT_DATA,
    passphrase_file: PASSPHRASE_FILE = None,
) -> None:
    """Let no device install a version any more; what was published stays in the registry."""
    from secateur_server.registry.registry import Registry
    from secateur_server.signing.listing import Lister

    registry = Registry(data / "registry")
    latest, stable = registry.latest().get(model), registry.stable().get(model)
    if latest is not None and latest.ladder.version == version:
        raise InputError(f"{model} {version} is the latest: publish another version first")
    if stable is not None and stable.ladder.version == version:
        raise InputError(f"{model} {version} is what devices have: roll another one out first")
    lister = Lister(find_places(data, keys), known_passphrases(passphrase_file))
    lister.withdraw(model, version, datetime.now(UTC))
    typer.echo(f"withdrawn {model} {version}")


def serve(
    config: Annotated[Path | None, typer.Option(help="server.toml")] = None,
    broker: Annotated[str | None, typer.Option(help="mqtt://host:port; none: our own.")] = None,
    broker_port: Annotated[int | None, typer.Option(help="Of our own broker.")] = None,
    data: Annotated[Path | None, typer.Option(help="Registry and database.")] = None,
    site: Annotated[str | None, typer.Option(help="Which site.")] = None,
    http_host: Annotated[str | None, typer.Option(help="Where blobs are served.")] = None,
    http_port: Annotated[int | None, typer.Option(help="0: a free one.")] = None,
    public_url: Annotated[str | None, typer.Option(help="How devices reach blobs.")] = None,
    database: Annotated[str | None, typer.Option(help="URL; none: SQLite in --data.")] = None,
    replica: Annotated[str | None, typer.Option(help="Our name among several.")] = None,
    log_format: Annotated[LogForm | None, typer.Option(help="Of lines on stderr.")] = None,
    dashboard_port: Annotated[
        int | None, typer.Option(help="Show the fleet in a browser, on this machine; 0: free.")
    ] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Gets addresses as JSON.")] = None,
    *,
    amqtt: Annotated[bool | None, typer.Option(help="Our own broker is amqtt.")] = None,
) -> None:
    """Run the coordinator, and a broker where none is named, until stopped."""
    options = {
        "broker": broker,
        "broker_port": broker_port,
        "data": data,
        "site": site,
        "http_host": http_host,
        "http_port": http_port,
        "public_url": public_url,
        "amqtt": amqtt,
        "database": database,
        "replica": replica,
        "dashboard_port": dashboard_port,
        "log_format": log_format,
    }
    settings = read_settings(config, options)
    log_to_stderr(settings.log_format, logging.WARNING)
    _serve(settings, ready_file)


def _serve(settings: ServeSettings, ready_file: Path | None) -> None:
    from secateur_server.adapters.artifacts_http import ArtifactsServer
    from secateur_server.adapters.embedded_broker import EmbeddedBroker
    from secateur_server.adapters.files import hold_folder, write_atomically
    from secateur_server.adapters.store import Store, sqlite_url
    from secateur_server.collector import collect_seldom
    from secateur_server.coordinator.block_server import BlockServer
    from secateur_server.coordinator.driver import Driver
    from secateur_server.coordinator.metrics import renderer
    from secateur_server.registry.registry import Registry
    from secateur_server.signing.refresher import Refresher
    from secateur_server.signing.standing import expiries

    with contextlib.ExitStack() as stack:
        if settings.database is None:
            stack.enter_context(hold_folder(settings.data))
        registry = Registry(settings.data / "registry")
        database = settings.database or sqlite_url(settings.data / "secateur.sqlite")
        places = find_places(settings.data, None)
        refresher = Refresher(places)
        refresher.start()
        stack.callback(refresher.stop)
        store = Store(database, settings.site)
        stack.callback(store.close)
        own = None
        if settings.broker is None:
            own = EmbeddedBroker(
                settings.data / "broker", settings.broker_port, prefer_amqtt=settings.amqtt
            )
            stack.callback(own.stop)
        http = ArtifactsServer(
            registry.blobs_dir, host=settings.http_host, port=settings.http_port
        )
        url = settings.public_url or f"http://{settings.http_host}:{http.port}/blobs"
        broker_url = own.url if own else settings.broker or ""
        addresses = {"broker": broker_url, "artifacts": url}
        if settings.dashboard_port is not None:
            dashboard = _start_dashboard(settings, broker_url)
            stack.callback(dashboard.stop)
            addresses["dashboard"] = dashboard.url
        driver = Driver(
            site=settings.site,
            broker_url=broker_url,
            artifacts_url=url,
            store=store,
            registry=registry,
            replicas=_replicas(settings, store),
        )
        http.offer_metrics(renderer(driver, lambda: expiries(places)))
        http.start()
        stack.callback(http.stop)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: driver.quit())
        collect_seldom()
        driver.start()
        blocks = BlockServer(
            broker_url,
            site=settings.site,
            root=registry.blobs_dir.parent,
            owns=driver.replicas.owns,
        )
        blocks.start()
        stack.callback(blocks.stop)
        typer.echo(f"broker {broker_url} ({own.name if own else 'yours'})")
        _say_the_rest(settings, addresses, is_shared=driver.replicas.is_shared)
        if ready_file is not None:
            write_atomically(ready_file, json.dumps(addresses).encode())
        driver.run()


def _say_the_rest(
    settings: ServeSettings, addresses: dict[str, str], *, is_shared: bool
) -> None:
    typer.echo(f"artifacts {addresses['artifacts']}")
    if settings.replica is not None:
        how = "shared subscription" if is_shared else "device"
        typer.echo(f"replica {settings.replica}, telemetry split by {how}")
    if "dashboard" in addresses:
        typer.echo(f"dashboard {addresses['dashboard']}")
    typer.echo("ready")


def _start_dashboard(settings: ServeSettings, broker_url: str) -> "DashboardChild":
    from secateur_server.dashboard.child import DashboardChild

    return DashboardChild(
        broker_url,
        site=settings.site,
        port=settings.dashboard_port or 0,
        ready_path=settings.data / "dashboard.json",
    )


def _replicas(settings: ServeSettings, store: "Store") -> "Replicas | None":
    from secateur_server.adapters.shared_subscription import delivers_shared
    from secateur_server.coordinator.replicas import Replicas

    if settings.replica is None or settings.broker is None:
        return None
    is_shared = delivers_shared(settings.broker, settings.site)
    return Replicas(store, site=settings.site, name=settings.replica, is_shared=is_shared)
