"""The agent's connection to the broker. Callbacks only decode and post."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode as MqttCode

from secateur_agent.adapters.wire import WireMeter
from secateur_agent.core.telemetry import WireBytes
from secateur_agent.settings import BROKER_PORT, BROKER_TLS_PORT, BrokerSettings
from secateur_agent.transfer.channel import BlockChannel
from secateur_protocols.blocks import BlocksRequest
from secateur_protocols.codec import decode, encode
from secateur_protocols.errors import ProtocolError
from secateur_protocols.ids import ModelName
from secateur_protocols.message import Message
from secateur_protocols.presence import Presence, PresenceState, Rebirth
from secateur_protocols.result import Result
from secateur_protocols.state import Desired
from secateur_protocols.topics import QOS, RETAINED, Leaf, device_topic, rebirth, result_topic

FIRST_DELAY_S = (0.2, 1.0)
LAST_DELAY_S = (30.0, 60.0)
"""Between these, each device draws the first and the longest delay of its reconnects, anew
at every loss: a fleet must not come back in step (rule W10)."""

MAX_QUEUED = 200
"""QoS 1 messages kept while there is no connection; of more, the newest are dropped. What
is retained is said again on every connection anyway."""

KEEP_ALIVE_S = 60
"""Where the settings say nothing."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message for us."""

    message: Desired | Rebirth


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """A message on the topic of a model's source."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """The broker accepted the connection with this number; subscriptions are asked."""

    session: int


@dataclass(frozen=True, slots=True)
class Closed:
    """There is no connection, or there was none to be had."""

    problem: str


@dataclass(frozen=True, slots=True)
class Garbled:
    """A peer sent what is no message; it was dropped."""

    problem: str


BrokerEvent = Arrived | FrameArrived | Opened | Closed | Garbled


class Broker:
    """One MQTT 3.1.1 client: nothing that we need is in MQTT 5 alone."""

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        site: str,
        device: str,
        boot: int,
        source_topics: frozenset[str] = frozenset(),
        post: Callable[[BrokerEvent], None],
    ) -> None:
        self._site = site
        self._device = device
        self._boot = boot
        self._source_topics = source_topics
        self._blocks = BlockChannel()
        self._post = post
        self._session = 0
        self._meter = WireMeter()
        self._settings = settings
        self._client = self._make_client(settings)

    def secure(self, context: ssl.SSLContext) -> None:
        """Use TLS from the first connection on; to be called before `start`."""
        self._client.tls_set_context(context)

    def start(self) -> None:
        """Connect, and connect again for as long as it takes."""
        parts = urlsplit(self._settings.url)
        port = parts.port or (BROKER_TLS_PORT if parts.scheme == "mqtts" else BROKER_PORT)
        keep_alive_s = self._settings.keep_alive_s or KEEP_ALIVE_S
        self._client.connect_async(parts.hostname or "", port, keepalive=keep_alive_s)
        self._client.loop_start()

    def stop(self) -> None:
        """Say `stopped` (rule W3), wait until it is sent, and leave."""
        presence = Presence(state=PresenceState.STOPPED, boot=self._boot, session=self._session)
        if self._client.is_connected():
            topic = device_topic(self._site, self._device, Leaf.PRESENCE)
            said = self._client.publish(topic, encode(presence), qos=1, retain=True)
            # Either error: the connection went meanwhile.
            with contextlib.suppress(RuntimeError, ValueError):
                said.wait_for_publish(timeout=2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def is_turning(self) -> bool:
        """Say whether the network's loop still runs, connected or not."""
        name = f"paho-mqtt-client-{self._device}"
        return any(thread.name == name for thread in threading.enumerate())

    def publish(self, leaf: Leaf, message: Message) -> None:
        """Send on one of our leaves. Without a connection QoS 0 is dropped, QoS 1 waits."""
        qos = QOS[leaf]
        if qos == 0 and not self._client.is_connected():
            return
        topic = device_topic(self._site, self._device, leaf)
        self._client.publish(topic, encode(message), qos=qos, retain=leaf in RETAINED)

    def publish_result(self, model: ModelName, result: Result) -> None:
        """Send a result; without a connection it is dropped."""
        if self._client.is_connected():
            topic = result_topic(self._site, self._device, model)
            self._client.publish(topic, encode(result), qos=0)

    def carry(self, blocks: BlockChannel) -> None:
        """Carry requests for blocks of a file, and the blocks; call it before `start`."""
        self._blocks = blocks
        blocks.attach(self._request_blocks)

    def _request_blocks(self, request: BlocksRequest) -> None:
        if self._client.is_connected():
            self.publish(Leaf.BLOCKS_REQUEST, request)

    def wire_bytes(self) -> WireBytes:
        """Count what has passed between us and brokers since the start (rule W11)."""
        return self._meter.read()

    def _make_client(self, settings: BrokerSettings) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self._device)
        parts = urlsplit(settings.url)
        if parts.username is not None:
            password = unquote(parts.password) if parts.password is not None else None
            client.username_pw_set(unquote(parts.username), password)
        client.max_queued_messages_set(MAX_QUEUED)
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_pre_connect = self._on_pre_connect
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        _draw_delays(client)
        return client

    def _on_socket_open(
        self,
        _client: mqtt.Client,
        _userdata: object,
        connection: Any,  # noqa: ANN401 - paho's socket-like
    ) -> None:
        # Neither paho nor Mosquitto sets it: a request and its answer take 80 ms without.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._meter.opened(connection)

    def _on_socket_close(
        self, _client: mqtt.Client, _userdata: object, _connection: object
    ) -> None:
        self._meter.closing()

    def _on_pre_connect(self, client: mqtt.Client, _userdata: object) -> None:
        # The will carries the number of the session that it ends (rule W3).
        self._session += 1
        will = Presence(state=PresenceState.OFFLINE, boot=self._boot, session=self._session)
        topic = device_topic(self._site, self._device, Leaf.PRESENCE)
        client.will_set(topic, encode(will), qos=1, retain=True)

    def _on_connect(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: object,
        code: MqttCode,
        _props: object,
    ) -> None:
        if code.is_failure:
            self._post(Closed(f"the broker refuses the connection: {code}"))
            return
        desired = device_topic(self._site, self._device, Leaf.DESIRED)
        blocks = device_topic(self._site, self._device, Leaf.BLOCKS_DATA)
        client.subscribe([(desired, 1), (rebirth(self._site), 1), (blocks, 1)])
        if self._source_topics:
            # QoS 0: a frame that is late is worth less than the next one.
            client.subscribe([(topic, 0) for topic in sorted(self._source_topics)])
        self._post(Opened(self._session))

    def _on_connect_fail(self, _client: mqtt.Client, _userdata: object) -> None:
        self._post(Closed(f"no broker at {urlsplit(self._settings.url).hostname}"))

    def _on_disconnect(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: object,
        code: MqttCode,
        _props: object,
    ) -> None:
        _draw_delays(client)
        self._post(Closed(f"connection to the broker ended: {code}"))

    def _on_message(
        self, _client: mqtt.Client, _userdata: object, received: mqtt.MQTTMessage
    ) -> None:
        if received.topic in self._source_topics:
            if not received.retain:  # what the broker kept is no frame of now
                self._post(FrameArrived(received.topic, bytes(received.payload)))
            return
        if not received.payload:
            return  # an emptied retained topic: we were forgotten (rule W6)
        payload = bytes(received.payload)
        try:
            if received.topic.endswith(Leaf.BLOCKS_DATA):
                self._blocks.deliver(payload)
            elif received.topic == rebirth(self._site):
                self._post(Arrived(decode(Rebirth, payload)))
            else:
                self._post(Arrived(decode(Desired, payload)))
        except ProtocolError as error:
            self._post(Garbled(str(error)))


def _draw_delays(client: mqtt.Client) -> None:
    draw = SystemRandom().uniform
    first_s, last_s = draw(*FIRST_DELAY_S), draw(*LAST_DELAY_S)
    client.reconnect_delay_set(min_delay=first_s, max_delay=last_s)  # type: ignore[arg-type] # any number works
