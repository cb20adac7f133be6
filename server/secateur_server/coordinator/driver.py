"""The coordinator at run time: one thread, one queue, no decision of its own.

What the broker brings is handed to whoever it concerns, and what follows is said:

    take a batch off the queue -> coordination: hear and plan each -> save all that was
    decided -> voice: publish it

so that one transaction serves many devices when many speak at once, and one device waits for
nobody when it speaks alone. The same thread turns the MQTT client's loop: handing each message
from one thread to another costs more than deciding about it.

    coordination.py   what is known and decided; the database
    voice.py          what is said
    requests.py       what operators ask for
"""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from secateur_protocols.codec import decode
from secateur_protocols.control import StartRollout, SteerRollout
from secateur_protocols.errors import ProtocolError
from secateur_protocols.info import Info
from secateur_protocols.logs import LogEvent, about
from secateur_protocols.ota import Ota
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.rollout import RolloutStatus
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Telemetry
from secateur_protocols.topics import (
    ANY,
    QOS,
    Leaf,
    control_request,
    device_topic,
    parse_device_topic,
)
from secateur_server.adapters.broker import Broker, Received, Subscription
from secateur_server.adapters.store import Store
from secateur_server.coordinator.coordination import Coordination
from secateur_server.coordinator.counters import Counters, Met
from secateur_server.coordinator.replicas import Alone, Replicas
from secateur_server.coordinator.requests import Requests
from secateur_server.coordinator.rollouts import Rollouts
from secateur_server.coordinator.voice import StatusLine, Voice
from secateur_server.core.context import Context
from secateur_server.core.fleet import DeviceState, Said
from secateur_server.core.inventory import Inventory
from secateur_server.core.policy import Policies
from secateur_server.registry.registry import Registry

log = logging.getLogger("secateur.coordinator")

TICK_S = 0.25
"""How often is looked at what is due, seconds."""

REGISTRY_S = 1.0
"""How often the registry and, with replicas, policy are looked at, seconds."""

MAX_BATCH = 256
"""Messages taken at once: together they wait for one transaction."""

HEARD: dict[Leaf, type[Said | Ota]] = {
    Leaf.PRESENCE: Presence,
    Leaf.INFO: Info,
    Leaf.TELEMETRY: Telemetry,
    Leaf.REPORTED: Reported,
    Leaf.OTA: Ota,
}
"""What is taken into account of a device."""


class Opened:
    """There is a connection to the broker."""


class Driver:
    """One coordinator of one site."""

    def __init__(
        self,
        *,
        site: str,
        broker_url: str,
        artifacts_url: str,
        store: Store,
        registry: Registry,
        replicas: Replicas | Alone | None = None,
    ) -> None:
        self.site = site
        self.replicas = replicas or Alone()
        self.coordination = Coordination(
            artifacts_url=artifacts_url, store=store, registry=registry, replicas=self.replicas
        )
        self._happenings: deque[Received | Opened] = deque()
        self._is_over = False
        self._request_topic = control_request(site)
        self._next_look_s = 0.0
        self._hears_all = False
        self._status = StatusLine(site, self.replicas.name)
        self._broker = Broker(
            broker_url,
            subscriptions=self._subscriptions(),
            on_message=self._happenings.append,
            on_open=lambda: self._happenings.append(Opened()),
            will=self._status.of(PresenceState.OFFLINE),
        )
        self._voice = Voice(self._broker, site, self.devices, self._status)
        self._requests = Requests(self._broker, site)

    @property
    def devices(self) -> Mapping[str, DeviceState]:
        """Every device, by name."""
        return self.coordination.devices

    @property
    def policies(self) -> Policies:
        """All that operators have set."""
        return self.coordination.context.policies

    @property
    def context(self) -> Context:
        """What holds for every device now."""
        return self.coordination.context

    @property
    def counters(self) -> Counters:
        """What has come in."""
        return self.coordination.counters

    @property
    def inventory(self) -> Inventory:
        """Who is still missing."""
        return self.coordination.inventory

    def start(self) -> None:
        """Connect.

        Raises:
            InputError: There is no broker.
        """
        self.replicas.join()
        self._broker.start(own_thread=False)

    def quit(self) -> None:
        """Ask `run` to end, from any thread or signal handler."""
        self._is_over = True

    def run(self) -> None:
        """Coordinate until `quit`; everything is saved and said on return."""
        next_tick_s = 0.0
        try:
            while not self._is_over:
                now_s = time.monotonic()
                if now_s >= next_tick_s:
                    next_tick_s = now_s + TICK_S
                    self._tick(now_s)
                self._take_batch(next_tick_s)
                self._settle()
                if self.coordination.saver.is_behind:
                    self.coordination.saver.save_due(time.monotonic())
        finally:
            self.coordination.saver.save_all()
            self.replicas.leave()
            self._broker.stop(self._status.of(PresenceState.STOPPED))

    def take(self, received: Iterable[Received]) -> None:
        """Take messages as if the broker had brought them: for measuring without one."""
        for number, each in enumerate(received):
            self._take(each)
            if number % MAX_BATCH == MAX_BATCH - 1:
                self._settle()
        self._settle()

    def tick(self) -> None:
        """Do now what is due."""
        self._tick(time.monotonic())

    def set_policies(self, policies: Policies) -> None:
        """Let other policy hold from now on; see `Coordination.set_policies`."""
        self.coordination.set_policies(policies)

    @property
    def rollouts(self) -> Rollouts:
        """Which version each device is to have."""
        return self.coordination.rollouts

    def start_rollout(self, asked: StartRollout, request_id: str) -> RolloutStatus:
        """Begin a rollout; see `Rollouts.start`."""
        return self.coordination.start_rollout(asked, request_id, datetime.now(UTC))

    def steer_rollout(self, asked: SteerRollout) -> RolloutStatus:
        """Do to a rollout what an operator says; see `Rollouts.steer`."""
        return self.coordination.steer_rollout(asked)

    def ask_rebirth(self, device: str | None) -> None:
        """Have one device, or all, say everything again."""
        self._voice.ask_rebirth(device)

    def forget(self, device: str) -> None:
        """Forget a device and empty its retained topics (rule W6).

        Raises:
            TransientError: The database does not answer; nothing is forgotten.
        """
        self.coordination.forget(device)
        self._voice.empty(device)

    def _subscriptions(self) -> list[Subscription]:
        filters = [
            Subscription(device_topic(self.site, ANY, leaf), QOS[leaf])
            for leaf in HEARD
            if leaf is not Leaf.TELEMETRY
        ]
        telemetry = self.replicas.telemetry_filter(device_topic(self.site, ANY, Leaf.TELEMETRY))
        filters.append(Subscription(telemetry, QOS[Leaf.TELEMETRY]))
        filters.append(Subscription(self._request_topic))
        if self.replicas.are_several:
            filters.append(Subscription(device_topic(self.site, ANY, Leaf.DESIRED)))
        return filters

    def _take_batch(self, next_tick_s: float) -> None:
        """Take what has come, waiting for it until the next tick."""
        is_busy = self._voice.is_busy or self.coordination.saver.is_behind
        wait_s = 0.0 if is_busy else max(0.0, next_tick_s - time.monotonic())
        self._broker.pump(wait_s, most=MAX_BATCH)
        while self._happenings:
            self._take(self._happenings.popleft())

    def _take(self, happening: Received | Opened) -> None:
        if isinstance(happening, Opened):
            self._introduce()
        elif happening.topic == self._request_topic:
            self._requests.take(self, happening.payload)
        else:
            self._hear(happening)

    def _introduce(self) -> None:
        """Say everything, and begin to look for whom we know (rule W8)."""
        self._voice.introduce()
        self.inventory.begin(self.devices)
        self._voice.announce(self.context.published)
        self.coordination.rollouts.say_all()

    def _hear(self, received: Received) -> None:
        try:
            topic = parse_device_topic(received.topic)
            if topic.leaf is Leaf.DESIRED:
                self._hear_desired(topic.device, received.payload)
                return
            kind = HEARD[topic.leaf]
        except (ProtocolError, KeyError):
            self.counters.count(Met.UNKNOWN_TOPIC)
            return
        if not received.payload:
            return  # a retained topic was emptied: somebody forgot the device
        if topic.leaf is Leaf.TELEMETRY and not self._takes_telemetry(topic.device):
            self.counters.count(Met.NOT_OURS)
            return
        try:
            said = decode(kind, received.payload)
        except ProtocolError as error:
            self.counters.count(Met.MALFORMED, topic.device)
            told = about(LogEvent.MESSAGE_REFUSED, topic=received.topic[:200])
            log.info("%s: %s", received.topic[:200], error, extra=told)
            return
        if isinstance(said, Ota):
            self.coordination.rollouts.hear_ota(topic.device, said)
        else:
            self.coordination.hear(topic.device, topic.leaf, said)

    def _takes_telemetry(self, device: str) -> bool:
        is_ours = self.replicas.takes_telemetry(device)
        return is_ours or self.coordination.rollouts.watches(device)

    def _hear_desired(self, device: str, payload: bytes) -> None:
        """Hear what another replica decided, or that it has forgotten a device."""
        if not self.replicas.are_several:
            return
        if not payload:
            self.coordination.drop(device)
            return
        with contextlib.suppress(ProtocolError):
            self.coordination.hear_desired(device, decode(Desired, payload))

    def _settle(self) -> None:
        """Save what was decided, then say it."""
        self._voice.say_desired(self.coordination.settle())

    def _tick(self, now_s: float) -> None:
        self.coordination.beat()
        self.coordination.saver.save_due(now_s)
        self._voice.ask_for_missing(self.inventory, now_s)
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + REGISTRY_S
            if self.coordination.look_up(datetime.now(UTC)):
                self._voice.announce(self.context.published)
            self._watch_closely()
        self._voice.say_rollouts(self.coordination.rollouts.take_unsaid())

    def _watch_closely(self) -> None:
        """Hear all telemetry ourselves while a rollout that we act for is under way."""
        is_due = self.replicas.is_shared and self.coordination.rollouts.are_under_way
        if is_due and not self._hears_all:
            self._hears_all = True
            topic = device_topic(self.site, ANY, Leaf.TELEMETRY)
            self._broker.subscribe([Subscription(topic, QOS[Leaf.TELEMETRY])])
