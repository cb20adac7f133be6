"""The device's command line and composition root: ``secateur-agent``."""

import argparse
import dataclasses
import importlib.metadata
import logging
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from secateur_agent.adapters.broker import Broker
from secateur_agent.adapters.identity import Identity
from secateur_agent.adapters.inference import (
    HostProgram,
    Inference,
    InferenceProcess,
    Post,
)
from secateur_agent.adapters.pressure import KernelReadings, Pressure, SimulatedReadings
from secateur_agent.adapters.sensors import KernelSensors, Sensors, SimulatedSensors
from secateur_agent.adapters.store import Kept, Store
from secateur_agent.adapters.systemd import ServiceManager
from secateur_agent.adapters.updates import Updates
from secateur_agent.core.agent import AgentState
from secateur_agent.core.guard import Limits
from secateur_agent.core.profile import METERED, NORMAL, Profile
from secateur_agent.core.standby import StandbyState
from secateur_agent.core.swap import SwapState
from secateur_agent.driver import Driver
from secateur_agent.errors import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    EXIT_OK,
    AgentError,
    ConfigError,
    SystemToolError,
)
from secateur_agent.happenings import Quit, Trouble
from secateur_agent.inference.commands import Configure, HttpSpec
from secateur_agent.inference.pipe import Pipe
from secateur_agent.inference.realtime import Realtime
from secateur_agent.installed import Candidate, EngineMissingError, find_installed
from secateur_agent.lanes import lane_spec
from secateur_agent.settings import (
    BROKER_PORT,
    BROKER_TLS_PORT,
    AgentSettings,
    BrokerSettings,
    EngineSettings,
    MqttSettings,
    TelemetryProfile,
    TelemetrySettings,
    TrustSettings,
    read_settings,
)
from secateur_agent.transfer.channel import BlockChannel
from secateur_agent.transfer.ledger import Ledger
from secateur_agent.transfer.transfers import Transfers
from secateur_agent.transfer.watch import Patience
from secateur_agent.trust.trust import Trust
from secateur_protocols.ids import ModelName
from secateur_protocols.info import EngineInfo, Info, ModelTask
from secateur_protocols.logs import LogForm, log_to_stderr

_PROFILES = {TelemetryProfile.NORMAL: NORMAL, TelemetryProfile.METERED: METERED}

METERED_KEEP_ALIVE_S = 600
"""A ping and its answer are some 230 bytes with TLS and headers: each minute, 10 MB a month."""

_Parser = argparse.ArgumentParser

CONNECT_S = 5.0
"""How long ``check`` tries to reach the broker, seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors are one line on stderr.

    Returns:
        0 done, 1 failed and trying again may help, 2 configuration or arguments cannot
        be used.
    """
    options = _parser().parse_args(arguments)
    log_to_stderr(LogForm.CONSOLE, logging.INFO)
    try:
        if options.command in {"install", "uninstall", "enroll"}:
            return _belong(options)
        settings = read_settings(options.config)
        log_to_stderr(settings.log_format, logging.INFO)
        return _check(settings) if options.command == "check" else run(settings)
    except (ConfigError, EngineMissingError) as error:
        return _complain(error, EXIT_BAD_INPUT)
    except (AgentError, SystemToolError) as error:
        return _complain(error, EXIT_FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="secateur-agent", description="Run pruned models on this device."
    )
    version = importlib.metadata.version("secateur")
    parser.add_argument("--version", action="version", version=f"secateur-agent {version}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "infer, report, and follow the coordinator until stopped"),
        (
            "check",
            "check configuration, engine, sources, state folder and broker; change nothing",
        ),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, required=True, help="agent.toml")
    _add_service_commands(commands)
    return parser


def _add_service_commands(commands: "argparse._SubParsersAction[_Parser]") -> None:
    text = "make the agent a systemd service of this machine, or bring it up to date"
    install = commands.add_parser("install", help=text, description=text)
    install.add_argument("--device", help="the device's id, at the first installation")
    install.add_argument("--broker", help="mqtts://host:port, likewise")
    install.add_argument("--site", default="default", help="which site, likewise")
    install.add_argument("--model", nargs="+", default=["digits"], help="names, likewise")
    install.add_argument("--enroll", help="where to ask for a certificate, https://host:port")
    install.add_argument("--token", help="with which to ask")
    install.add_argument("--root", type=Path, help="root.json, whose models may run here")
    install.add_argument("--no-start", action="store_true", help="do not start it now")
    text = "stop the service and remove all that belongs to it, models included"
    commands.add_parser("uninstall", help=text, description=text)
    text = "ask for this device's certificate with a one-time token"
    enroll = commands.add_parser("enroll", help=text, description=text)
    enroll.add_argument("--url", required=True, help="of 'secateur certificate serve'")
    enroll.add_argument("--token", required=True, help="of 'secateur enroll DEVICE --token'")
    enroll.add_argument("--out", type=Path, help="where the files go")


def _belong(options: argparse.Namespace) -> int:
    # Here alone: a running agent needs none of it.
    from secateur_agent.credentials import Credentials, enroll  # noqa: PLC0415 - see above
    from secateur_agent.installation import service  # noqa: PLC0415 - see above

    if options.command == "enroll":
        out = options.out or service.CREDENTIALS_DIR
        enroll(options.url, options.token, Credentials(out))
        done = f"enrolled: {out}"
    elif options.command == "uninstall":
        done = service.uninstall()
    else:
        wanted = service.Wanted(
            device=options.device,
            broker_url=options.broker,
            site=options.site,
            models=options.model,
            enroll_url=options.enroll,
            token=options.token,
            root=options.root,
        )
        done = service.install(wanted, start=not options.no_start)
    sys.stdout.write(f"{done}\n")
    return EXIT_OK


def _complain(error: Exception, code: int) -> int:
    sys.stderr.write(f"secateur-agent: error: {' '.join(str(error).split())}\n")
    return code


def _check(settings: AgentSettings) -> int:
    # Here alone: running needs neither in this process.
    from secateur_agent.engine import find_engine  # noqa: PLC0415 - see above
    from secateur_agent.inference.sources import open_source  # noqa: PLC0415 - see above

    engine = find_engine(settings.engine.name)
    _check_trust(settings.trust)
    for model in settings.models:
        if (source := lane_spec(model, settings.limits).source) is not None:
            open_source(source)
    parts = urlsplit(settings.broker.url)
    port = parts.port or (BROKER_TLS_PORT if parts.scheme == "mqtts" else BROKER_PORT)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_S).close()
    except OSError as error:
        problem = f"no broker at {parts.hostname}:{port} ({error}): check broker.url"
        raise ConfigError(problem) from error
    sys.stdout.write(f"ok: {engine.name} {engine.version}, broker {parts.hostname}:{port}\n")
    return EXIT_OK


def _check_trust(trust: TrustSettings) -> None:
    if trust.accept_unsigned:
        return
    if trust.root is None:
        problem = "trust.root is not set: no model can be installed on this device"
        raise ConfigError(problem)
    try:
        trust.root.read_bytes()
    except OSError as error:
        problem = f"trust.root: cannot read {trust.root}: {error.strerror}"
        raise ConfigError(problem) from error


def run(settings: AgentSettings, host: Pipe | None = None) -> int:
    """Run the control process until told to stop.

    Args:
        settings: What to do.
        host: A pipe to a program that infers itself. ``None``: in a process of our own.
    """
    engine = find_installed(settings.engine.name)
    channel = BlockChannel()
    store = Store(settings.state_dir)
    opened = store.open()
    sensors = _sensors(settings)

    def start_inference(configure: Configure, post: Post) -> Inference:
        if host is None:
            return InferenceProcess(configure, post)
        return HostProgram(host, configure, post, on_end=lambda: driver.post(Quit()))

    kept = {model.name: store.recall(model.name) for model in settings.models}
    driver = Driver(
        _state(settings, engine, kept, opened.boot, sensors),
        updates=Updates(
            store,
            _transfers(settings, channel),
            _trust(settings, sensors),
            settings.device,
            engine.name,
            settings.engine.threads,
            settings.engine.probe_memory_bytes,
        ),
        sensors=sensors,
        pressure=_pressure(settings),
        configure=Configure(
            engine=engine.name,
            threads=settings.engine.threads,
            lanes=tuple(lane_spec(model, settings.limits) for model in settings.models),
            slowdown=sensors.slowdown(),
            http=HttpSpec(**settings.http.model_dump()) if settings.http else None,
            places=_places(settings.engine),
            realtime=Realtime(**settings.realtime.model_dump()),
        ),
        period_s=settings.telemetry.period_s,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: driver.post(Quit()))
    broker = Broker(
        _broker_settings(settings),
        site=settings.site,
        device=settings.device,
        boot=opened.boot,
        source_topics=frozenset(
            model.source.topic
            for model in settings.models
            if isinstance(model.source, MqttSettings)
        ),
        post=driver.post,
    )
    if settings.broker.url.startswith("mqtts:"):
        identity = Identity(settings.broker, settings.state_dir)
        identity.watch(lambda problem: driver.post(Trouble(problem)))
        broker.secure(identity.context)
    broker.carry(channel)
    for problem in (opened.problem, *(each.problem for each in kept.values())):
        if problem is not None:
            driver.post(Trouble(problem))
    driver.run(broker, start_inference, ServiceManager.of_environment())
    return EXIT_OK


def _transfers(settings: AgentSettings, channel: BlockChannel) -> Transfers:
    transfer = settings.transfer
    budget_mb = transfer.budget_mb_month
    return Transfers(
        Patience(rate_bytes_per_s=transfer.rate_bytes_per_s),
        way=transfer.way,
        channel=channel,
        ledger=Ledger(
            settings.state_dir / "transfer.json", int(budget_mb * 1e6) if budget_mb else None
        ),
        spread_s=transfer.spread_s,
    )


def _trust(settings: AgentSettings, sensors: Sensors) -> Trust:
    return Trust(
        settings.state_dir / "trust",
        settings.trust.root,
        hardware_class=sensors.hardware().hardware_class,
        accepts_unsigned=settings.trust.accept_unsigned,
    )


def _sensors(settings: AgentSettings) -> Sensors:
    real = KernelSensors(settings.state_dir)
    return SimulatedSensors(settings.simulation, real) if settings.simulation else real


def _pressure(settings: AgentSettings) -> Pressure:
    simulation = settings.simulation
    readings = SimulatedReadings(simulation) if simulation else KernelReadings()
    return Pressure(Limits(**settings.limits.model_dump(exclude={"miss_ratio"})), readings.read)


def _places(engine: EngineSettings) -> int | None:
    """Say how many inferences of so many threads fit into the budget at a time."""
    return None if engine.cpu_budget is None else max(1, engine.cpu_budget // engine.threads)


def _state(
    settings: AgentSettings,
    engine: Candidate,
    kept: Mapping[ModelName, Kept],
    boot: int,
    sensors: Sensors,
) -> AgentState:
    info = Info(
        boot=boot,
        agent_version=importlib.metadata.version("secateur"),
        hardware=sensors.hardware(),
        engine=EngineInfo(
            name=engine.name, version=engine.version(), threads=settings.engine.threads
        ),
        tasks=tuple(
            ModelTask(model=model.name, deadline_ms=model.deadline_ms)
            for model in settings.models
        ),
        labels=settings.labels,
    )
    swaps = {
        name: SwapState(incumbent=each.incumbent, refusals=each.refusals)
        for name, each in kept.items()
    }
    standbys = {model.name: StandbyState() for model in settings.models if model.standby}
    profile = _profile(settings.telemetry)
    return AgentState(info=info, swaps=swaps, standbys=standbys, profile=profile)


def _broker_settings(settings: AgentSettings) -> BrokerSettings:
    """Let a metered device ping seldom, unless its configuration says how often."""
    is_metered = settings.telemetry.profile is TelemetryProfile.METERED
    if not is_metered or settings.broker.keep_alive_s is not None:
        return settings.broker
    return settings.broker.model_copy(update={"keep_alive_s": METERED_KEEP_ALIVE_S})


def _profile(settings: TelemetrySettings) -> Profile:
    profile = _PROFILES[settings.profile]
    if settings.budget_mb_month is None:
        return profile
    return dataclasses.replace(profile, month_bytes=settings.budget_mb_month * 1e6)
