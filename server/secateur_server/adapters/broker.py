"""The server's connection to the broker: coordinator and operators' clients alike."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.matcher import MQTTMatcher
from paho.mqtt.reasoncodes import ReasonCode as MqttCode

from secateur_server.adapters.ahead import ReadAhead
from secateur_server.errors import InputError

PORTS = {"mqtt": 1883, "mqtts": 8883}
CONNECT_S = 5.0
"""How long the first connection may take, seconds."""

FAREWELL_S = 2.0
"""How long the last message may take to get out, seconds."""

KEEP_ALIVE_S = 30
MAX_INFLIGHT = 1_000
"""Messages sent and not yet acknowledged."""

TOGETHER_S = 0.002
"""A pumped connection is looked at once in so many seconds: what comes meanwhile is taken
together. To be woken for each message costs about as much as to read it."""

FIRST_DELAY_S = (0.2, 1.0)
LAST_DELAY_S = (10.0, 30.0)
"""Between these, the first and the longest delay of reconnects are drawn anew at every loss."""


class Received(NamedTuple):
    """One message, undecoded. An empty payload says that a retained topic was emptied."""

    topic: str
    payload: bytes


class Subscription(NamedTuple):
    """A topic filter, and how surely what matches must come."""

    topic_filter: str
    qos: int = 1


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says when we are gone."""

    topic: str
    payload: bytes


class _NoFilters(MQTTMatcher):
    """In place of paho's search for callbacks by topic: we have one, for all.

    That search leaves objects behind that hold each other, with each message: at some
    thousands a second, clearing them away stops everything for 50 ms every other second.
    """

    def iter_match(self, _topic: str) -> Iterator[Any]:
        return iter(())


class _Client(mqtt.Client):
    # Were either of these ever called otherwise, paho would do as it does: slower, not wrong.

    def __init__(self) -> None:
        super().__init__(CallbackAPIVersion.VERSION2)
        self._on_message_filtered = _NoFilters()  # type: ignore[no-untyped-call] # paho's

    def _create_socket(self) -> Any:  # noqa: ANN401 - paho's socket-like
        connection: Any = super()._create_socket()
        return ReadAhead(connection)


class Broker:
    """One MQTT 3.1.1 client that subscribes anew on every connection (rule W2)."""

    def __init__(
        self,
        url: str,
        *,
        subscriptions: Sequence[Subscription],
        on_message: Callable[[Received], None],
        on_open: Callable[[], None] = lambda: None,
        will: Will | None = None,
    ) -> None:
        """Make the client; nothing is connected yet.

        Args:
            url: ``mqtt://[user:password@]host[:port]``, or ``mqtts://`` for TLS, which may
                end in ``?ca=FILE&cert=FILE&key=FILE``: whom to trust, and who we are.
            subscriptions: Made anew on every connection.
            on_message: Called on the thread that turns the loop.
            on_open: Likewise, after each CONNACK, once the subscriptions hold.
            will: The last will, retained, QoS 1.

        Raises:
            InputError: The address cannot be one.
        """
        self.url = url
        self._parts = _parse(url)
        self._subscriptions = [(each.topic_filter, each.qos) for each in subscriptions]
        self._subscribing: int | None = None
        self._on_open = on_open
        self._opened = threading.Event()
        self._refusal: str | None = None
        self._is_pumped = False
        self._next_look_s = 0.0
        self._next_try_s = 0.0
        self._delay_s = 0.0
        self._client = _Client()
        if self._parts.username is not None:
            password = unquote(self._parts.password) if self._parts.password else None
            self._client.username_pw_set(unquote(self._parts.username), password)
        if self._parts.scheme == "mqtts":
            self._client.tls_set_context(_tls_context(self._parts.query))
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=True)
        self._client.max_queued_messages_set(0)
        # With paho's 20, a burst waits for a round trip per 20 messages.
        self._client.max_inflight_messages_set(MAX_INFLIGHT)
        self._client.on_socket_open = _send_without_delay
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_disconnect = lambda client, *_: _draw_delays(client)
        self._client.on_message = lambda _c, _u, message: on_message(
            Received(message.topic, bytes(message.payload))
        )
        _draw_delays(self._client)

    def start(self, *, own_thread: bool = True) -> None:
        """Connect; from then on, connect again for as long as it takes.

        Args:
            own_thread: Whether a thread of its own turns the connection's loop; else the
                caller does, with `pump`, and all callbacks are called there.

        Raises:
            InputError: There is no broker there, or it refuses us.
        """
        host, port = self._parts.hostname or "", self._parts.port or PORTS[self._parts.scheme]
        self._is_pumped = not own_thread
        try:
            self._client.connect(host, port, keepalive=KEEP_ALIVE_S)
        except OSError as error:
            msg = f"no broker at {host}:{port} ({error}): start one or give another --broker"
            raise InputError(msg) from error
        if own_thread:
            self._client.loop_start()
        if not self._wait_for(self._opened.is_set, CONNECT_S) or self._refusal is not None:
            self.stop()
            why = self._refusal or f"no answer in {CONNECT_S:.0f} s"
            raise InputError(f"the broker at {host}:{port} refuses the connection: {why}")

    def pump(self, timeout_s: float, *, most: int) -> None:
        """Wait for the connection to have something, take what is there, send what waits.

        A connection that is lost is tried again, later each time.

        Args:
            timeout_s: How long to wait at most.
            most: Packets to take at most.
        """
        until_s = time.monotonic() + timeout_s
        self._let_more_come(until_s)
        rest_s = max(0.0, until_s - time.monotonic())
        if self._client.loop(rest_s) != mqtt.MQTT_ERR_SUCCESS:
            self._connect_again(rest_s)
            return
        self._next_look_s = time.monotonic() + TOGETHER_S
        self._delay_s = 0.0
        for _ in range(most):
            if not self._is_ahead():
                return
            self._client.loop_read()

    def _let_more_come(self, until_s: float) -> None:
        pause_s = min(self._next_look_s, until_s) - time.monotonic()
        if pause_s > 0 and not self._is_ahead():
            time.sleep(pause_s)

    def _is_ahead(self) -> bool:
        """Say whether something was read of the connection that nobody has taken."""
        connection: Any = self._client.socket()
        return isinstance(connection, ReadAhead) and connection.pending() > 0

    def _connect_again(self, timeout_s: float) -> None:
        now_s = time.monotonic()
        if now_s < self._next_try_s:
            time.sleep(min(timeout_s, self._next_try_s - now_s))
            return
        self._delay_s = min(LAST_DELAY_S[0], max(FIRST_DELAY_S[0], 2 * self._delay_s))
        # Spread, so that a site's clients do not come back in step.
        self._next_try_s = now_s + SystemRandom().uniform(0.5, 1.0) * self._delay_s
        with contextlib.suppress(OSError):
            self._client.reconnect()

    def stop(self, farewell: Will | None = None) -> None:
        """Send a last retained message, wait until it is out, and leave."""
        if farewell is not None and self._client.is_connected():
            said = self._client.publish(farewell.topic, farewell.payload, qos=1, retain=True)
            self._wait_for(said.is_published, FAREWELL_S)
        self._client.disconnect()
        if self._is_pumped:
            self._client.loop(0.1)
        self._client.loop_stop()

    def _wait_for(self, is_done: Callable[[], bool], limit_s: float) -> bool:
        until_s = time.monotonic() + limit_s
        while not is_done() and time.monotonic() < until_s:
            if self._is_pumped:
                self._client.loop(0.05)
            else:
                time.sleep(0.002)
        return is_done()

    def publish(
        self, topic: str, payload: bytes, *, is_retained: bool = False, qos: int = 1
    ) -> Callable[[], bool]:
        """Send; with QoS 1 and without a connection it waits in memory.

        Returns:
            Whether the broker has it: it says so of QoS 1.
        """
        return self._client.publish(topic, payload, qos=qos, retain=is_retained).is_published

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._client.is_connected()

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Subscribe to more, now and on every connection to come."""
        more = [(each.topic_filter, each.qos) for each in subscriptions]
        self._subscriptions += more
        self._client.subscribe(more)

    def fetch(self, topics: Sequence[str]) -> None:
        """Have the broker send what it retains of these topics, once more, by name."""
        self._client.subscribe([(topic, 1) for topic in topics])
        # In order: what is retained is on its way when this arrives. Ours, with wildcards,
        # go on.
        self._client.unsubscribe(list(topics))

    def _connected(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: object,
        code: MqttCode,
        _props: object,
    ) -> None:
        if code.is_failure:
            self._refuse(str(code))
        elif self._subscriptions:
            _, self._subscribing = client.subscribe(self._subscriptions)
        else:
            self._open()

    def _subscribed(
        self,
        _client: mqtt.Client,
        _userdata: object,
        mid: int,
        codes: list[MqttCode],
        _props: object,
    ) -> None:
        """Call the connection open only now: what is sent to us before this is lost."""
        if mid != self._subscribing:
            return
        refused = [code for code in codes if code.is_failure]
        if refused:
            self._refuse(f"subscription: {refused[0]}")
        else:
            self._open()

    def _open(self) -> None:
        self._on_open()
        self._opened.set()

    def _refuse(self, why: str) -> None:
        self._refusal = why
        self._opened.set()


def _parse(url: str) -> Any:  # noqa: ANN401 - urllib's generic result
    parts = urlsplit(url)
    try:
        is_usable = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise InputError(f"{url!r} is no broker address: write mqtt://host:port")
    return parts


def _tls_context(query: str) -> ssl.SSLContext:
    """Read the files that an address names.

    Raises:
        InputError: One cannot be read, or the address says something else.
    """
    files = dict(parse_qsl(query))
    if strange := sorted(set(files) - {"ca", "cert", "key"}):
        raise InputError(f"a broker address takes ?ca=, cert= and key=, not {strange[0]}=")
    if ("cert" in files) != ("key" in files):
        raise InputError("a broker address takes cert= and key= together")
    try:
        context = ssl.create_default_context(cafile=files.get("ca"))
        if "cert" in files:
            context.load_cert_chain(files["cert"], files["key"])
    except OSError as error:  # what OpenSSL raises is one too
        raise InputError(f"cannot use {' or '.join(files.values())}: {error}") from error
    return context


def _send_without_delay(_client: mqtt.Client, _userdata: object, connection: Any) -> None:  # noqa: ANN401 - paho's socket-like
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _draw_delays(client: mqtt.Client) -> None:
    draw = SystemRandom().uniform
    first_s, last_s = draw(*FIRST_DELAY_S), draw(*LAST_DELAY_S)
    client.reconnect_delay_set(min_delay=first_s, max_delay=last_s)  # type: ignore[arg-type] # any number works
