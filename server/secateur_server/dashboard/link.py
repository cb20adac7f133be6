"""One user's connection: the broker speaks to `Fleet`, and requests go to the coordinator."""

import logging
import threading
import time
import uuid
from concurrent.futures import Future
from enum import StrEnum
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from secateur_protocols.codec import decode, encode
from secateur_protocols.control import Action, ControlRequest, ControlResponse, ShowStatus
from secateur_protocols.errors import ProtocolError
from secateur_protocols.logs import LogEvent, about
from secateur_protocols.topics import (
    ANY,
    QOS,
    control_request,
    control_response,
    coordinator_status,
    device_topic,
    model_topic,
    rollout_topic,
)
from secateur_server.adapters.broker import Broker, Received, Subscription
from secateur_server.dashboard.fleet import SHOWN, Fleet
from secateur_server.errors import TransientError

log = logging.getLogger("secateur.dashboard")

MAX_PENDING = 100
"""Requests of one user that wait for an answer."""

PROBE_S = 8.0
"""A coordinator that is there answers sooner, unless the broker keeps our question from it."""


class Role(StrEnum):
    """What the broker lets a user do."""

    UNKNOWN = "unknown"
    """No coordinator has been there to ask."""
    OPERATOR = "operator"
    VIEWER = "viewer"
    """Requests do not arrive: the broker's access list lets this user read only."""


class Link:
    """A connection with one user's credentials, shared by all of the user's pages.

    Attributes:
        fleet: All that was heard. Hold `lock` while looking at it.
        opened: How often the connection has been made.
    """

    def __init__(self, broker_url: str, site: str, user: str, password: str) -> None:
        """Make it; nothing is connected yet."""
        self.site = site
        self.fleet = Fleet(site)
        self.lock = threading.Lock()
        self.opened = 0
        self._client = f"dashboard-{uuid.uuid4().hex[:12]}"
        self._response_topic = control_response(site, self._client)
        self._pending: dict[str, Future[ControlResponse]] = {}
        self._probe_began_s: float | None = None
        self._unheard = False
        self._is_operator = False
        self._broker = Broker(
            with_credentials(broker_url, user, password),
            subscriptions=self._subscriptions(),
            on_message=self._take,
            on_open=self._open,
        )

    def start(self) -> None:
        """Connect; from then on, connect again for as long as it takes.

        Raises:
            InputError: There is no broker, or it refuses these credentials.
        """
        self._broker.start()

    def stop(self) -> None:
        """Leave the broker; whoever waits for an answer gets none."""
        self._broker.stop()
        for waiting in list(self._pending.values()):
            if waiting.set_running_or_notify_cancel():
                waiting.set_exception(TransientError("the connection to the broker has ended"))

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._broker.is_connected

    @property
    def role(self) -> Role:
        """What the user may do, as far as we know yet."""
        if self._is_operator:
            return Role.OPERATOR
        is_known = self._unheard and self.fleet.is_coordinated
        return Role.VIEWER if is_known else Role.UNKNOWN

    def probe(self) -> None:
        """Ask the coordinator something harmless, to learn whether our requests reach it.

        To be called every now and then: what was not answered until the next question will
        not be.
        """
        if self._is_operator or not self.is_connected or not self.fleet.is_coordinated:
            self._probe_began_s = None
            return
        if self._probe_began_s is None or time.monotonic() - self._probe_began_s > PROBE_S:
            # Once known it stays known until there is an answer.
            self._unheard = self._unheard or self._probe_began_s is not None
            self._probe_began_s = time.monotonic()
            self.ask(ShowStatus())

    def ask(self, action: Action) -> "Future[ControlResponse]":
        """Send one request; its answer comes through the future, or never."""
        request_id = uuid.uuid4().hex
        request = ControlRequest(request_id=request_id, client=self._client, action=action)
        answer: Future[ControlResponse] = Future()
        while len(self._pending) >= MAX_PENDING:
            self._pending.pop(next(iter(self._pending)), answer).cancel()
        self._pending[request_id] = answer
        self._broker.publish(control_request(self.site), encode(request))
        return answer

    def _subscriptions(self) -> list[Subscription]:
        site, status = self.site, coordinator_status(self.site)
        shared = (
            status,
            f"{status}/{ANY}",
            model_topic(site, ANY),
            rollout_topic(site, ANY),
            self._response_topic,
        )
        # What a coordinator and its models are is known before the first device is.
        return [
            *map(Subscription, shared),
            *(Subscription(device_topic(site, ANY, leaf), QOS[leaf]) for leaf in SHOWN),
        ]

    def _open(self) -> None:
        self.opened += 1
        with self.lock:
            self.fleet.version += 1

    def _take(self, received: Received) -> None:
        """Take one message in; on the connection's own thread."""
        if received.topic == self._response_topic:
            self._take_response(received.payload)
            return
        with self.lock:
            self.fleet.apply(received.topic, received.payload, time.time())

    def _take_response(self, payload: bytes) -> None:
        try:
            response = decode(ControlResponse, payload)
        except ProtocolError as error:
            told = about(LogEvent.MESSAGE_REFUSED)
            log.warning("an answer of the coordinator: %s", error, extra=told)
            return
        self._is_operator = True
        waiting = self._pending.pop(response.request_id, None)
        if waiting is not None and waiting.set_running_or_notify_cancel():
            waiting.set_result(response)


def with_credentials(broker_url: str, user: str, password: str) -> str:
    """Give a broker's address with these credentials and no others.

    What an address holds of the coordinator's own identity is not for users.
    """
    parts = urlsplit(broker_url)
    place = parts.netloc.rpartition("@")[2]
    if user:
        place = f"{quote(user, safe='')}:{quote(password, safe='')}@{place}"
    trusted = urlencode([pair for pair in parse_qsl(parts.query) if pair[0] == "ca"])
    return urlunsplit((parts.scheme, place, parts.path, trusted, ""))
