"""What is said for Home Assistant, from what devices and coordinators say. No I/O."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import JsonValue

from secateur_protocols.ids import DeviceId, ModelName
from secateur_protocols.info import Info
from secateur_protocols.message import Message
from secateur_protocols.ota import TERMINAL, Ota, OtaProgress
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Telemetry
from secateur_server.home_assistant.entities import AUTOMATIC, Topics, announcement

MAX_DEVICES = 10_000
"""Home Assistant is for a home or a hall; more are left out."""

Pins = Mapping[tuple[DeviceId, ModelName], int]
"""Which level operators hold, by device and model."""


class Publication(NamedTuple):
    """One retained message. An empty payload takes it away."""

    topic: str
    payload: bytes


@dataclass(slots=True)
class _Device:
    info: Info | None = None
    presence: Presence | None = None
    telemetry: Telemetry | None = None
    desired: Desired | None = None
    reported: Reported | None = None
    ota: Ota | None = None
    percent: dict[ModelName, float] = field(default_factory=dict)
    said: dict[str, bytes] = field(default_factory=dict)


class Mirror:
    """Remembers what was said, so that only what changes is said again."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._devices: dict[DeviceId, _Device] = {}
        self._levels: dict[ModelName, int] = {}
        self._pins: dict[tuple[DeviceId, ModelName], int] = {}

    def hear(self, name: DeviceId, message: Message) -> list[Publication]:
        """Take one message of a device, or about it, into account."""
        device = self._devices.get(name)
        if device is None:
            if len(self._devices) >= MAX_DEVICES:
                return []
            device = self._devices[name] = _Device()
        _take(device, message)
        return self._news(name)

    def know_levels(self, model: ModelName, count: int) -> list[Publication]:
        """Take over how many levels a model's ladder has."""
        self._levels[model] = count
        return self._all_news()

    def know_pins(self, pins: Pins) -> list[Publication]:
        """Take over which levels are held."""
        self._pins = dict(pins)
        return self._all_news()

    def forget(self, name: DeviceId) -> list[Publication]:
        """Let a device that was forgotten go from Home Assistant, too."""
        device = self._devices.pop(name, None)
        return (
            [Publication(topic, b"") for topic in reversed(list(device.said))] if device else []
        )

    def say_all(self) -> list[Publication]:
        """Say everything once more: a broker may have lost what it kept."""
        for device in self._devices.values():
            device.said.clear()
        return self._all_news()

    def _all_news(self) -> list[Publication]:
        return [each for name in self._devices for each in self._news(name)]

    def _news(self, name: DeviceId) -> list[Publication]:
        device = self._devices[name]
        if device.info is None:
            return []  # what it is, is said first
        news = [
            Publication(topic, payload)
            for topic, payload in self._state(name, device, device.info)
            if device.said.get(topic) != payload
        ]
        device.said.update(news)
        return news

    def _state(
        self, name: DeviceId, device: _Device, info: Info
    ) -> Iterator[tuple[str, bytes]]:
        topics = self._topics
        announced = announcement(topics, name, info, self._levels)
        yield topics.discovery(name), _encoded(announced)
        yield topics.device(name), _encoded(_of_device(device))
        for task in info.tasks:
            pin = self._pins.get((name, task.model))
            yield topics.model(name, task.model), _encoded(_of_model(device, task.model, pin))
            yield topics.update(name, task.model), _encoded(_of_update(device, task.model))


def _take(device: _Device, message: Message) -> None:
    match message:
        case Info():
            device.info = message
        case Presence():
            device.presence = message
        case Telemetry():
            device.telemetry = message
        case Desired():
            device.desired = message
        case Reported():
            device.reported = message
        case Ota():
            device.ota = message
            ended = {each.model for each in message.updates if each.state in TERMINAL}
            device.percent = {m: p for m, p in device.percent.items() if m not in ended}
        case OtaProgress():
            share = message.received_bytes / max(message.total_bytes, 1)
            device.percent[message.model] = round(100 * share)
        case _:
            return


def _of_device(device: _Device) -> dict[str, JsonValue]:
    here = {PresenceState.ONLINE, PresenceState.SLEEPING}
    is_here = device.presence is not None and device.presence.state in here
    resources = device.telemetry.resources if device.telemetry else None
    heat_c = resources.temperature_c if resources else None
    cpu = resources.cpu_share if resources else None
    return {
        "presence": "online" if is_here else "offline",
        "temperature_c": None if heat_c is None else round(heat_c, 1),
        "cpu_percent": None if cpu is None else round(100 * cpu),
    }


def _of_model(device: _Device, model: ModelName, pin: int | None) -> dict[str, JsonValue]:
    measured = device.telemetry.models if device.telemetry else ()
    found = next((each for each in measured if each.model == model), None)
    reported = device.reported.models if device.reported else ()
    level = next((each.level for each in reported if each.model == model), None)
    p95_ms = found.p95_ms if found else None
    return {
        "level": level,
        "p95": None if p95_ms is None else round(p95_ms, 2),
        "misses": found.deadline_misses if found else None,
        "pin": AUTOMATIC if pin is None else str(pin),
    }


def _of_update(device: _Device, model: ModelName) -> dict[str, JsonValue]:
    """Say a version's update; a change of level is none."""
    reported = device.reported.models if device.reported else ()
    wanted = device.desired.models if device.desired else ()
    installed = next((each.version for each in reported if each.model == model), None)
    latest = next((each.ladder.version for each in wanted if each.model == model), installed)
    updates = device.ota.updates if device.ota else ()
    is_moving = any(each.model == model and each.state not in TERMINAL for each in updates)
    is_moving = is_moving and installed != latest
    said: dict[str, JsonValue] = {
        "in_progress": is_moving,
        "update_percentage": device.percent.get(model) if is_moving else None,
    }
    if installed is not None:
        said["installed_version"] = installed
    if latest is not None:
        said["latest_version"] = latest
    return said


def _encoded(document: dict[str, JsonValue]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
