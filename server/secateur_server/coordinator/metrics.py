"""What Prometheus scrapes of a coordinator: how its fleet does, in totals by model and level.

No name of a device is a label: a time series for each of 100,000 would be the end of a
Prometheus. `secateur devices` and the dashboard say which ones they are. Names and meanings are
stable: dashboards and alerts are built on them.
"""

import importlib.metadata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from secateur_protocols.ids import ModelName
from secateur_protocols.presence import PresenceState
from secateur_protocols.rollout import RolloutState
from secateur_protocols.state import DesiredModel, ReportedModel
from secateur_protocols.telemetry import ModelTelemetry
from secateur_server.coordinator.counters import Met
from secateur_server.coordinator.driver import Driver
from secateur_server.core.fleet import DeviceState

Expiries = Callable[[], Mapping[str, datetime | None]]
"""Gives when the signed metadata of each role expires; ``None``: there is none."""


@dataclass(slots=True)
class OfModel:
    """What all devices that run one model say, added up."""

    serving: Counter[int] = field(default_factory=Counter)
    """Devices by the level that they report."""
    late: int = 0
    """Devices whose p95 of the last period is above the deadline."""
    changing: int = 0
    """Devices that serve another level or version than is wanted."""
    infeasible: int = 0
    """Devices on which no level fits; they run the narrowest."""
    stepped_down: int = 0
    """Devices that made themselves narrower than wanted."""
    answered: int = 0
    missed: int = 0
    lost: int = 0
    """Frames since each device's agent started."""


@dataclass(slots=True)
class OfFleet:
    """What all devices say, added up."""

    presences: Counter[str] = field(default_factory=Counter)
    models: dict[ModelName, OfModel] = field(default_factory=dict)
    throttled: int = 0
    hottest_c: float | None = None


def add_up(devices: Iterable[DeviceState]) -> OfFleet:
    """Add up what devices last said. Pure."""
    fleet = OfFleet()
    for device in devices:
        _add(fleet, device)
    return fleet


def _add(fleet: OfFleet, device: DeviceState) -> None:
    fleet.presences[device.presence.state if device.presence else "unknown"] += 1
    wanted = {each.model: each for each in device.desired.models} if device.desired else {}
    for reported in device.reported.models if device.reported else ():
        of_model = fleet.models.setdefault(reported.model, OfModel())
        _add_reported(of_model, reported, wanted.get(reported.model))
    if device.telemetry is None:
        return
    resources = device.telemetry.resources
    fleet.throttled += bool(resources.throttled)
    heat_c = resources.temperature_c
    if heat_c is not None and (fleet.hottest_c is None or heat_c > fleet.hottest_c):
        fleet.hottest_c = heat_c
    for measured in device.telemetry.models:
        _add_measured(fleet.models.setdefault(measured.model, OfModel()), measured)


def _add_reported(total: OfModel, reported: ReportedModel, wanted: DesiredModel | None) -> None:
    total.serving[reported.level] += 1
    total.stepped_down += reported.stepped_down is not None
    if wanted is not None:
        total.infeasible += wanted.infeasible
        serves = (wanted.ladder.version, wanted.level) == (reported.version, reported.level)
        total.changing += not serves


def _add_measured(total: OfModel, measured: ModelTelemetry) -> None:
    total.answered += measured.answered
    total.missed += measured.deadline_misses
    total.lost += measured.lost
    if measured.p95_ms is not None:
        total.late += measured.p95_ms > measured.deadline_ms


class FleetCollector(Collector):
    """Reads a running coordinator, from any thread, whenever it is asked."""

    def __init__(self, driver: Driver, expiries: Expiries) -> None:
        self._driver = driver
        self._expiries = expiries

    def collect(self) -> Iterator[Metric]:
        """Give every metric as it stands now."""
        # One step of the interpreter, so that the coordinator's thread does not come between.
        fleet = add_up(list(self._driver.devices.values()))
        yield from _about_fleet(fleet)
        yield from _about_models(fleet.models)
        yield from self._about_us()

    def _about_us(self) -> Iterator[Metric]:
        driver = self._driver
        info = GaugeMetricFamily(
            "secateur_coordinator_info",
            "1, with the coordinator's version, site and replica.",
            labels=["version", "site", "replica"],
        )
        version = importlib.metadata.version("secateur")
        info.add_metric([version, driver.site, driver.replicas.name or ""], 1)
        yield info
        messages = CounterMetricFamily(
            "secateur_messages",
            "Messages that came in since the coordinator started, by what became of them.",
            labels=["what"],
        )
        for what in Met:
            messages.add_metric([what], driver.counters.total(what))
        yield messages
        yield GaugeMetricFamily(
            "secateur_inventory_missing",
            "Known devices of which not all retained topics were heard since the connection.",
            driver.inventory.missing_count,
        )
        yield _by(
            "secateur_rollouts",
            "Rollouts that are remembered, by state.",
            "state",
            {state: driver.rollouts.count(state) for state in RolloutState},
        )
        expires = {
            role: at.timestamp() for role, at in self._expiries().items() if at is not None
        }
        yield _by(
            "secateur_metadata_expires_timestamp_seconds",
            "When signed metadata expires, seconds since 1970.",
            "role",
            expires,
        )


def _about_fleet(fleet: OfFleet) -> Iterator[Metric]:
    states = [*PresenceState, "unknown"]
    yield _by(
        "secateur_devices",
        "Known devices, by what was last heard of their presence.",
        "state",
        {state: fleet.presences[state] for state in states},
    )
    yield GaugeMetricFamily(
        "secateur_devices_throttled",
        "Devices whose processor is slowed by heat or power.",
        fleet.throttled,
    )
    if fleet.hottest_c is not None:
        yield GaugeMetricFamily(
            "secateur_devices_hottest_celsius", "Of the hottest device.", fleet.hottest_c
        )


def _about_models(models: Mapping[ModelName, OfModel]) -> Iterator[Metric]:
    serving = GaugeMetricFamily(
        "secateur_devices_serving", "Devices, by what they serve.", labels=["model", "level"]
    )
    for model, total in models.items():
        for level, count in sorted(total.serving.items()):
            serving.add_metric([model, str(level)], count)
    yield serving
    told: tuple[tuple[str, str, Callable[[OfModel], float]], ...] = (
        (
            "secateur_devices_late",
            "Devices whose p95 of the last period is above the deadline.",
            lambda total: total.late,
        ),
        (
            "secateur_devices_changing",
            "Devices that serve another level or version than is wanted.",
            lambda total: total.changing,
        ),
        (
            "secateur_devices_infeasible",
            "Devices on which no level fits.",
            lambda total: total.infeasible,
        ),
        (
            "secateur_devices_stepped_down",
            "Devices that made themselves narrower than wanted.",
            lambda total: total.stepped_down,
        ),
        (
            "secateur_frames_answered",
            "Frames answered, over all devices, since each one's agent started.",
            lambda total: total.answered,
        ),
        (
            "secateur_frames_late",
            "Frames answered after the deadline, likewise.",
            lambda total: total.missed,
        ),
        (
            "secateur_frames_lost",
            "Frames lost by a fault, likewise.",
            lambda total: total.lost,
        ),
    )
    for name, text, read in told:
        yield _by(name, text, "model", {m: read(total) for m, total in models.items()})


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        gauge.add_metric([value], count)
    return gauge


def renderer(driver: Driver, expiries: Expiries) -> Callable[[], bytes]:
    """Make what renders the metrics in Prometheus' text format; our process's own included."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(FleetCollector(driver, expiries))
    return lambda: generate_latest(registry)
