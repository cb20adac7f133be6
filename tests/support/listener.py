"""Hears all that one device says on a real broker, and speaks to it like a coordinator."""

import threading
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from secateur_protocols.codec import decode, encode
from secateur_protocols.event import DeviceEvent
from secateur_protocols.info import Info
from secateur_protocols.message import Message
from secateur_protocols.ota import Ota, OtaProgress
from secateur_protocols.presence import Presence
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Telemetry
from secateur_protocols.topics import Leaf, device_topic, parse_device_topic

M = TypeVar("M", bound=Message)

KINDS: dict[Leaf, type[Message]] = {
    Leaf.PRESENCE: Presence,
    Leaf.INFO: Info,
    Leaf.TELEMETRY: Telemetry,
    Leaf.DESIRED: Desired,
    Leaf.REPORTED: Reported,
    Leaf.OTA: Ota,
    Leaf.OTA_PROGRESS: OtaProgress,
    Leaf.EVENT: DeviceEvent,
}

WAIT_S = 90.0
"""Generous: the machine may be busy."""


class Listener:
    """A context manager; ``heard`` is everything in the order of arrival."""

    def __init__(self, url: str, *, site: str = "default", device: str = "meter-7") -> None:
        self._site = site
        self._device = device
        self.heard: list[Message] = []
        self._news = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._subscribe
        self._client.on_message = self._hear
        parts = urlsplit(url)
        self._client.connect(parts.hostname or "", parts.port or 1883)

    def __enter__(self) -> Self:
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def desire(self, desired: Desired) -> None:
        """Publish a desired state, retained, and wait until the broker has it."""
        topic = device_topic(self._site, self._device, Leaf.DESIRED)
        self._client.publish(topic, encode(desired), qos=1, retain=True).wait_for_publish(
            WAIT_S
        )

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish any bytes anywhere, QoS 1."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def wait_for(
        self,
        kind: type[M],
        matches: Callable[[M], bool] = lambda _: True,
        *,
        since: int = 0,
        timeout_s: float = WAIT_S,
    ) -> M:
        """Wait for a message that matches, heard at or after position ``since``."""
        until = time.monotonic() + timeout_s
        with self._news:
            while True:
                for message in self.heard[since:]:
                    if isinstance(message, kind) and matches(message):
                        return message
                left_s = until - time.monotonic()
                told = [each for each in self.heard if not isinstance(each, Telemetry)]
                assert left_s > 0, f"no {kind.__name__} that matches in {told[-12:]}"
                self._news.wait(left_s)

    def wait_for_level(self, level: int, *, since: int = 0) -> Reported:
        """Wait until the device reports that a level is committed."""
        return self.wait_for(
            Reported, lambda said: any(m.level == level for m in said.models), since=since
        )

    def _subscribe(self, client: mqtt.Client, *_: Any) -> None:  # noqa: ANN401 - paho's
        client.subscribe(
            device_topic(self._site, self._device, Leaf.PRESENCE)[:-8] + "#", qos=1
        )

    def _hear(
        self, _client: mqtt.Client, _userdata: object, received: mqtt.MQTTMessage
    ) -> None:
        if not received.payload or "/result/" in received.topic:
            return  # emptied; or a result, which no test waits for here
        kind = KINDS.get(parse_device_topic(received.topic).leaf)
        if kind is None:
            return  # blocks of files
        message = decode(kind, bytes(received.payload))
        with self._news:
            self.heard.append(message)
            self._news.notify_all()
