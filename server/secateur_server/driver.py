"""The coordinator at run time: one thread, one queue, no decision of its own.

What the broker brings becomes `core.fleet`'s news, `core.coordinator` derives what is wanted,
and what differs is saved, then published:

    take a batch off the queue -> hear and plan each -> save all that was decided -> publish it

so that one transaction serves many devices when many speak at once, and one device waits for
nobody when it speaks alone. The same thread turns the MQTT client's loop: handing each message
from one thread to another costs more than deciding about it.
"""

import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from secateur_protocols.codec import MAX_MESSAGE_BYTES, decode, encode
from secateur_protocols.control import ControlRequest, ControlResponse
from secateur_protocols.errors import ProtocolError
from secateur_protocols.info import Info
from secateur_protocols.presence import CoordinatorStatus, Presence, PresenceState, Rebirth
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Telemetry
from secateur_protocols.topics import (
    ANY,
    QOS,
    RETAINED,
    Leaf,
    control_request,
    control_response,
    coordinator_status,
    device_topic,
    model_topic,
    parse_device_topic,
    rebirth,
)
from secateur_server.adapters.broker import Broker, Received, Subscription, Will
from secateur_server.adapters.store import Store
from secateur_server.control import answer
from secateur_server.core.coordinator import Context, plan
from secateur_server.core.fleet import DeviceState, Said, hear, learn_from, recall
from secateur_server.core.inventory import Inventory
from secateur_server.core.policy import Policies
from secateur_server.counters import Counters, Met
from secateur_server.errors import PolicyConflictError, TransientError
from secateur_server.registry.registry import Registry
from secateur_server.replicas import Alone, Replicas
from secateur_server.saving import Saver

log = logging.getLogger("secateur.coordinator")

TICK_S = 0.25
"""How often is looked at what is due, seconds."""

REGISTRY_S = 1.0
"""How often the registry and, with replicas, policy are looked at, seconds."""

MAX_BATCH = 256
"""Messages taken at once: together they wait for one transaction."""

MAX_BURST = 500
"""Desired states said again per batch, so that saying it to a large fleet stalls nobody."""

ROUND_DEVICES = 150
"""Devices whose retained topics are asked for per tick: three each, well below the 1,000
messages that brokers queue for a client."""

SILENT_S = 10.0
"""At most one rebirth of everybody is asked for in this time, seconds."""

FEW = 5
"""So many silent devices are asked one by one; more are asked all at once."""

MAX_DEVICES = 200_000
"""More are not taken on: memory must have a bound, and ids can be invented."""

MAX_REQUESTS = 1_000
"""Answered requests remembered, so that the same one twice is a no-op (rule W5)."""

HEARD: dict[Leaf, type[Said]] = {
    Leaf.PRESENCE: Presence,
    Leaf.INFO: Info,
    Leaf.TELEMETRY: Telemetry,
    Leaf.REPORTED: Reported,
}
"""What is remembered of a device."""


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
        self.counters = Counters()
        self.inventory = Inventory()
        self.devices: dict[str, DeviceState] = store.load_devices()
        self._store = store
        self._registry = registry
        self._replicas = replicas or Alone()
        self._happenings: deque[Received | Opened] = deque()
        self._is_over = False
        self._saver = Saver(store, self.devices, self._replicas)
        self._wants_rebirth = False
        self._unsaid: deque[str] = deque()
        self._due_s: dict[str, float] = {}
        self._answered: OrderedDict[str, ControlResponse] = OrderedDict()
        self._context = Context(
            {}, store.load_policies(), artifacts_url, beliefs=recall(self.devices.values())
        )
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._broker = Broker(
            broker_url,
            subscriptions=self._subscriptions(),
            on_message=self._happenings.append,
            on_open=lambda: self._happenings.append(Opened()),
            will=self._status(PresenceState.OFFLINE),
        )

    @property
    def policies(self) -> Policies:
        """All that operators have set."""
        return self._context.policies

    @property
    def context(self) -> Context:
        """What holds for every device now."""
        return self._context

    @property
    def replicas(self) -> Replicas | Alone:
        """Who else coordinates this site."""
        return self._replicas

    def start(self) -> None:
        """Connect.

        Raises:
            InputError: There is no broker.
        """
        self._replicas.join()
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
        finally:
            self._saver.save_all()
            self._replicas.leave()
            self._broker.stop(self._status(PresenceState.STOPPED))

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
        """Let other policy hold from now on, saved first.

        Raises:
            PolicyConflictError: Another replica was faster; its policy holds now.
            TransientError: It could not be saved; the old policy holds.
        """
        try:
            self._store.save_policies(policies)
        except PolicyConflictError:
            self._adopt_policies(self._store.load_policies())
            raise
        self._adopt_policies(policies)

    def ask_rebirth(self, device: str | None) -> None:
        """Have one device, or all, say everything again."""
        self._broker.publish(rebirth(self.site), encode(Rebirth(device=device)))

    def forget(self, device: str) -> None:
        """Forget a device and empty its retained topics (rule W6).

        Raises:
            TransientError: The database does not answer; nothing is forgotten.
        """
        self._store.forget_device(device)
        self._drop(device)
        for leaf in RETAINED:
            self._broker.publish(device_topic(self.site, device, leaf), b"", is_retained=True)

    def _subscriptions(self) -> list[Subscription]:
        filters = [
            Subscription(device_topic(self.site, ANY, leaf), QOS[leaf])
            for leaf in HEARD
            if leaf is not Leaf.TELEMETRY
        ]
        telemetry = self._replicas.telemetry_filter(
            device_topic(self.site, ANY, Leaf.TELEMETRY)
        )
        filters.append(Subscription(telemetry, QOS[Leaf.TELEMETRY]))
        filters.append(Subscription(control_request(self.site)))
        if self._replicas.are_several:
            filters.append(Subscription(device_topic(self.site, ANY, Leaf.DESIRED)))
        return filters

    def _take_batch(self, next_tick_s: float) -> None:
        """Take what has come, waiting for it until the next tick."""
        wait_s = 0.0 if self._unsaid else max(0.0, next_tick_s - time.monotonic())
        self._broker.pump(wait_s, most=MAX_BATCH)
        while self._happenings:
            self._take(self._happenings.popleft())

    def _take(self, happening: Received | Opened) -> None:
        if isinstance(happening, Opened):
            self._introduce()
        elif happening.topic == control_request(self.site):
            self._control(happening.payload)
        else:
            self._hear(happening)

    def _introduce(self) -> None:
        """Say everything, and begin to look for whom we know (rule W8)."""
        status = self._status(PresenceState.ONLINE)
        self._broker.publish(status.topic, status.payload, is_retained=True)
        self._unsaid = deque(self.devices)
        self.inventory.begin(self.devices)
        self._announce_models()

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
        if topic.leaf is Leaf.TELEMETRY and not self._replicas.takes_telemetry(topic.device):
            self.counters.count(Met.NOT_OURS)
            return
        try:
            said = decode(kind, received.payload)
        except ProtocolError as error:
            self.counters.count(Met.MALFORMED, topic.device)
            log.info("%s: %s", received.topic[:200], error)
            return
        self._heard(topic.device, topic.leaf, said)

    def _heard(self, device: str, leaf: Leaf, said: Said) -> None:
        before = self.devices.get(device)
        if before is None:
            if len(self.devices) >= MAX_DEVICES:
                self.counters.count(Met.TOO_MANY_DEVICES)
                return
            before = DeviceState(device)
        self.inventory.hear(device, leaf)
        after = hear(before, said)
        if after is before:
            self.counters.count(Met.LATE, device if leaf is Leaf.TELEMETRY else None)
            return
        self.counters.count(Met.HEARD)
        if after.info is None:
            self.inventory.expect(device)
        beliefs = learn_from(self._context.beliefs, before, after)
        if beliefs is not self._context.beliefs:
            self._context = replace(self._context, beliefs=beliefs)
        if leaf is Leaf.TELEMETRY or self._replicas.owns(device):
            after = plan(after, self._context)
        self._saver.note_said(device, time.monotonic(), is_news=leaf is not Leaf.TELEMETRY)
        self._keep(before, after)

    def _hear_desired(self, device: str, payload: bytes) -> None:
        """Take over what another replica decided."""
        if not self._replicas.are_several or device not in self.devices:
            return
        if not payload:
            self._drop(device)
            return
        with contextlib.suppress(ProtocolError):
            desired = decode(Desired, payload)
            state = self.devices[device]
            if state.desired is None or desired.revision > state.desired.revision:
                self.devices[device] = replace(state, desired=desired)

    def _keep(self, before: DeviceState, after: DeviceState) -> None:
        self.devices[after.device] = after
        if after.desired is not before.desired:
            self._saver.note_decided(after.device)

    def _settle(self) -> None:
        """Save what was decided, then say it: after a crash no revision is used twice."""
        decided, overtaken = self._saver.save_decided()
        for device in overtaken:
            self._yield_to_other(device)
        self._say_desired(decided)
        self._say_desired(
            self._unsaid.popleft() for _ in range(min(MAX_BURST, len(self._unsaid)))
        )

    def _yield_to_other(self, device: str) -> None:
        """Take over the decision of a replica that was faster."""
        self.counters.count(Met.CONFLICT)
        with contextlib.suppress(TransientError):  # then its message tells us
            stored = self._store.load_device(device)
            if stored is not None and stored.desired is not None:
                self.devices[device] = replace(self.devices[device], desired=stored.desired)

    def _say_desired(self, devices: Iterable[str]) -> None:
        for device in devices:
            state = self.devices.get(device)
            if state is not None and state.desired is not None:
                topic = device_topic(self.site, device, Leaf.DESIRED)
                self._broker.publish(topic, encode(state.desired), is_retained=True)

    def _plan_all(self) -> None:
        for state in list(self.devices.values()):
            if self._replicas.owns(state.device):
                planned = plan(state, self._context)
                if planned is not state:
                    self._keep(state, planned)

    def _tick(self, now_s: float) -> None:
        if self._replicas.beat():
            self._plan_all()  # what was another's is ours now
        self._saver.save_due(now_s)
        self._ask_for_missing(now_s)
        if self._is_due("registry", now_s, REGISTRY_S):
            self._look_up(datetime.now(UTC))

    def _is_due(self, what: str, now_s: float, every_s: float) -> bool:
        if now_s < self._due_s.get(what, 0.0):
            return False
        self._due_s[what] = now_s + every_s
        return True

    def _look_up(self, now: datetime) -> None:
        """Look at what others change: the registry, the time of day, policy."""
        minute_of_day = now.hour * 60 + now.minute
        self._context = replace(self._context, minute_of_day=minute_of_day)
        published = self._registry.latest()
        if published != self._context.published:
            self._context = replace(self._context, published=published)
            self._announce_models()
            self._plan_all()
        if self._replicas.are_several:
            with contextlib.suppress(TransientError):
                if self._store.policy_version() != self.policies.version:
                    self._adopt_policies(self._store.load_policies())

    def _adopt_policies(self, policies: Policies) -> None:
        self._context = replace(self._context, policies=policies)
        self._plan_all()

    def _ask_for_missing(self, now_s: float) -> None:
        """Ask for retained topics by name, then for rebirths of who stays silent (rule W8)."""
        asked = self.inventory.next_round(ROUND_DEVICES)
        if asked:
            self._broker.fetch([device_topic(self.site, *each) for each in asked])
        silent = self.inventory.take_silent()
        if len(silent) <= FEW:
            for device in silent:
                self.ask_rebirth(device)
        else:
            self._wants_rebirth = True
        if self._wants_rebirth and self._is_due("rebirth", now_s, SILENT_S):
            self._wants_rebirth = False
            self.ask_rebirth(None)

    def _announce_models(self) -> None:
        for model, published in self._context.published.items():
            document = published.ladder.model_dump_json(exclude_none=True).encode()
            if len(document) <= MAX_MESSAGE_BYTES:
                self._broker.publish(model_topic(self.site, model), document, is_retained=True)

    def _drop(self, device: str) -> None:
        self.devices.pop(device, None)
        self._saver.forget(device)
        self.inventory.forget(device)

    def _control(self, payload: bytes) -> None:
        if not self._replicas.leads:
            return
        try:
            request = decode(ControlRequest, payload)
        except ProtocolError as error:
            self.counters.count(Met.MALFORMED)
            log.info("control request: %s", error)
            return
        response = self._answered.get(request.request_id)
        if response is None:
            response = answer(self, request)
            self._answered[request.request_id] = response
            while len(self._answered) > MAX_REQUESTS:
                self._answered.popitem(last=False)
        self._broker.publish(control_response(self.site, request.client), encode(response))

    def _status(self, state: PresenceState) -> Will:
        status = CoordinatorStatus(state=state, since=self._since)
        return Will(coordinator_status(self.site, self._replicas.name), encode(status))
