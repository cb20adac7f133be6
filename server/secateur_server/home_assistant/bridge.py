"""Carries what is said for Home Assistant, and what is chosen there, over one connection."""

import logging
import queue
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from secateur_protocols.codec import decode, encode
from secateur_protocols.control import (
    Action,
    ControlRequest,
    ControlResponse,
    PolicyChange,
    SetPolicy,
    ShowPolicy,
)
from secateur_protocols.errors import ProtocolError
from secateur_protocols.logs import LogEvent, about
from secateur_protocols.manifest import Ladder
from secateur_protocols.messages import MESSAGES
from secateur_protocols.presence import CoordinatorStatus, PresenceState
from secateur_protocols.topics import (
    ANY,
    QOS,
    Leaf,
    control_request,
    control_response,
    coordinator_status,
    device_topic,
    model_topic,
    parse_device_topic,
)
from secateur_server.adapters.broker import Broker, Received, Subscription, Will
from secateur_server.home_assistant.entities import AUTOMATIC, Topics
from secateur_server.home_assistant.mirror import Mirror, Publication

log = logging.getLogger("secateur.home_assistant")

HEARD = (
    Leaf.PRESENCE,
    Leaf.INFO,
    Leaf.TELEMETRY,
    Leaf.DESIRED,
    Leaf.REPORTED,
    Leaf.OTA,
    Leaf.OTA_PROGRESS,
)

POLICY_S = 30.0
"""How often is asked which levels are held: operators hold them elsewhere, too. Seconds."""

MAX_WAITING = 100_000
"""Messages that may wait; of more, the newest are dropped, and said again by their sender."""

ONLINE, OFFLINE = b"online", b"offline"


class Bridge:
    """One site's. The thread that calls `run` does everything but receive."""

    def __init__(self, broker_url: str, topics: Topics) -> None:
        """Make it; nothing is connected yet.

        Raises:
            InputError: The address cannot be one.
        """
        self._topics = topics
        self._mirror = Mirror(topics)
        self._statuses: dict[str, PresenceState] = {}
        self._is_over = threading.Event()
        self._client = f"home-assistant-{uuid.uuid4().hex[:12]}"
        self._received: queue.Queue[Received | None] = queue.Queue(MAX_WAITING)
        self._broker = Broker(
            broker_url,
            subscriptions=self._subscriptions(),
            on_message=self._keep,
            on_open=lambda: self._keep(None),
            will=Will(topics.status(), OFFLINE),
        )

    def start(self) -> None:
        """Connect.

        Raises:
            InputError: There is no broker, or it refuses us.
        """
        self._broker.start()

    def quit(self) -> None:
        """Ask `run` to end, from any thread or signal handler."""
        self._is_over.set()

    def run(self) -> None:
        """Carry until `quit`. What was said stays, and Home Assistant shows it as away."""
        asked_s = float("-inf")
        try:
            while not self._is_over.is_set():
                if time.monotonic() > asked_s + POLICY_S:
                    asked_s = time.monotonic()
                    self._ask(ShowPolicy())
                self._take_next()
        finally:
            self._broker.stop(Will(self._topics.status(), OFFLINE))

    def _subscriptions(self) -> list[Subscription]:
        site, topics = self._topics.site, self._topics
        return [
            *(Subscription(device_topic(site, ANY, leaf), QOS[leaf]) for leaf in HEARD),
            Subscription(model_topic(site, ANY)),
            Subscription(coordinator_status(site)),
            Subscription(coordinator_status(site, ANY)),
            Subscription(control_response(site, self._client)),
            Subscription(topics.pin(ANY, ANY)),
        ]

    def _keep(self, received: Received | None) -> None:
        try:
            self._received.put_nowait(received)
        except queue.Full:
            return

    def _take_next(self) -> None:
        try:
            received = self._received.get(timeout=0.5)
        except queue.Empty:
            return
        if received is None:  # there is a new connection
            self._say_status()
            self._say(self._mirror.say_all())
            return
        try:
            self._say(self._take(received.topic, received.payload))
        except ProtocolError as error:
            told = about(LogEvent.MESSAGE_REFUSED, topic=received.topic[:200])
            log.info("%s: %s", received.topic[:200], error, extra=told)

    def _take(self, topic: str, payload: bytes) -> Iterable[Publication]:
        site = self._topics.site
        if topic == control_response(site, self._client):
            return self._take_policy(decode(ControlResponse, payload))
        if topic.startswith(model_topic(site, "")):
            return self._take_ladder(payload)
        if topic.startswith(coordinator_status(site)):
            self._take_status(topic, payload)
            return ()
        if topic.startswith(self._topics.device("")):
            self._take_pin(topic, payload)
            return ()
        return self._take_device(topic, payload)

    def _take_device(self, topic: str, payload: bytes) -> Iterable[Publication]:
        parsed = parse_device_topic(topic)
        if payload:
            return self._mirror.hear(parsed.device, decode(MESSAGES[parsed.leaf], payload))
        return self._mirror.forget(parsed.device) if parsed.leaf is Leaf.INFO else ()

    def _take_ladder(self, payload: bytes) -> Iterable[Publication]:
        if not payload:
            return ()
        ladder = decode(Ladder, payload)
        return self._mirror.know_levels(ladder.model, len(ladder.levels))

    def _take_policy(self, response: ControlResponse) -> Iterable[Publication]:
        if not response.ok:
            log.warning("%s", response.error, extra=about(LogEvent.REFUSED))
        known: Any = response.result
        if not isinstance(known, Mapping) or "rules" not in known:
            return ()
        return self._mirror.know_pins(
            {
                (rule["device"], rule["model"]): rule["pinned_level"]
                for rule in known["rules"]
                if rule.get("pinned_level") is not None and rule["device"] and rule["model"]
            }
        )

    def _take_status(self, topic: str, payload: bytes) -> None:
        if payload:
            self._statuses[topic] = decode(CoordinatorStatus, payload).state
        else:
            self._statuses.pop(topic, None)
        self._say_status()

    def _take_pin(self, topic: str, payload: bytes) -> None:
        """Hold the level that was chosen, or let the planner decide again."""
        *_, device, model, _ = topic.split("/")
        chosen = payload.decode("ascii", "replace")
        if chosen != AUTOMATIC and not (chosen.isascii() and chosen.isdigit()):
            told = about(LogEvent.MESSAGE_REFUSED, topic=topic[:200])
            log.info("%s: %r is no level", topic[:200], chosen[:20], extra=told)
            return
        level = None if chosen == AUTOMATIC else int(chosen[:4])
        change = PolicyChange(pinned_level=level)
        wish = SetPolicy(device=device, model=model, change=change, unset=("pinned_level",))
        self._ask(wish)
        self._ask(ShowPolicy())

    def _ask(self, action: Action) -> None:
        request = ControlRequest(
            request_id=uuid.uuid4().hex, client=self._client, action=action
        )
        self._broker.publish(control_request(self._topics.site), encode(request))

    def _say_status(self) -> None:
        is_there = PresenceState.ONLINE in self._statuses.values()
        self._say([Publication(self._topics.status(), ONLINE if is_there else OFFLINE)])

    def _say(self, publications: Iterable[Publication]) -> None:
        for topic, payload in publications:
            self._broker.publish(topic, payload, is_retained=True)
