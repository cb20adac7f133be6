"""The coordinator at run time: one queue, one consumer, no decision of its own.

What the broker brings becomes `core.fleet`'s news, `core.coordinator` derives what is
wanted, and what differs is published and saved in batches.
"""

import contextlib
import logging
import queue
import time
from collections import OrderedDict
from datetime import UTC, datetime

from secateur_protocols.codec import MAX_MESSAGE_BYTES, decode, encode
from secateur_protocols.control import ControlRequest, ControlResponse
from secateur_protocols.errors import ProtocolError
from secateur_protocols.info import Info
from secateur_protocols.presence import CoordinatorStatus, Presence, PresenceState, Rebirth
from secateur_protocols.state import Reported
from secateur_protocols.telemetry import Telemetry
from secateur_protocols.topics import (
    ANY,
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
from secateur_server.adapters.broker import Broker, Received, Will
from secateur_server.adapters.store import Store
from secateur_server.control import answer
from secateur_server.core.coordinator import Context, plan
from secateur_server.core.fleet import DeviceState, Said, hear
from secateur_server.core.policy import Policies
from secateur_server.registry.registry import Registry

log = logging.getLogger("secateur.coordinator")

TICK_S = 1.0
"""How often the registry is looked at and changed devices are saved, seconds."""

REBIRTH_S = 10.0
"""At most one rebirth per device is asked for in this time, seconds."""

MAX_DEVICES = 100_000
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


class Quit:
    """The process was asked to end."""


class Opened:
    """There is a connection to the broker."""


class Driver:
    """One site's coordinator."""

    def __init__(
        self,
        *,
        site: str,
        broker_url: str,
        artifacts_url: str,
        store: Store,
        registry: Registry,
    ) -> None:
        self.site = site
        self._store = store
        self._registry = registry
        self._happenings: queue.SimpleQueue[Received | Opened | Quit] = queue.SimpleQueue()
        self.devices: dict[str, DeviceState] = store.load_devices()
        self._changed: set[str] = set()
        self._reborn_at_s: dict[str, float] = {}
        self._answered: OrderedDict[str, ControlResponse] = OrderedDict()
        policies = store.load_policies()
        self._context = Context({}, policies, artifacts_url)
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._broker = Broker(
            broker_url,
            subscriptions=[
                *(device_topic(site, ANY, leaf) for leaf in HEARD),
                control_request(site),
            ],
            on_message=self._happenings.put,
            on_open=lambda: self._happenings.put(Opened()),
            will=self._status(PresenceState.OFFLINE),
        )

    @property
    def policies(self) -> Policies:
        """All that operators have set."""
        return self._context.policies

    def start(self) -> None:
        """Connect.

        Raises:
            InputError: There is no broker.
        """
        self._broker.start()

    def quit(self) -> None:
        """Ask `run` to end, from any thread or signal handler."""
        self._happenings.put(Quit())

    def run(self) -> None:
        """Coordinate until `quit`; everything is saved and said on return."""
        next_tick_s = 0.0
        try:
            while True:
                if time.monotonic() >= next_tick_s:
                    next_tick_s = time.monotonic() + TICK_S
                    self._tick()
                wait_s = max(0.0, next_tick_s - time.monotonic())
                with contextlib.suppress(queue.Empty):
                    happening = self._happenings.get(timeout=wait_s)
                    if isinstance(happening, Quit):
                        return
                    self._take(happening)
        finally:
            self._save()
            self._broker.stop(self._status(PresenceState.STOPPED))

    def set_policies(self, policies: Policies) -> None:
        """Let other policy hold from now on, saved first."""
        self._store.save_policies(policies)
        self._context = Context(self._context.published, policies, self._context.artifacts_url)
        self._plan_all()

    def ask_rebirth(self, device: str | None) -> None:
        """Have one device, or all, say everything again."""
        self._broker.publish(rebirth(self.site), encode(Rebirth(device=device)))

    def forget(self, device: str) -> None:
        """Forget a device and empty its retained topics (rule W6)."""
        self.devices.pop(device, None)
        self._changed.discard(device)
        self._store.forget_device(device)
        for leaf in RETAINED:
            self._broker.publish(device_topic(self.site, device, leaf), b"", is_retained=True)

    def _take(self, happening: Received | Opened) -> None:
        if isinstance(happening, Opened):
            self._introduce()
        elif happening.topic == control_request(self.site):
            self._control(happening.payload)
        elif happening.payload:
            self._hear(happening)

    def _introduce(self) -> None:
        """Say everything, and ask whom we know to do the same (rule W8)."""
        status = self._status(PresenceState.ONLINE)
        self._broker.publish(status.topic, status.payload, is_retained=True)
        for state in self.devices.values():
            self._publish_desired(state)
        self._announce_models()
        self.ask_rebirth(None)

    def _hear(self, received: Received) -> None:
        try:
            topic = parse_device_topic(received.topic)
            said = decode(HEARD[topic.leaf], received.payload)
        except (ProtocolError, KeyError) as error:
            log.warning("%s: %s", received.topic[:200], error)
            return
        known = self.devices.get(topic.device)
        if known is None and len(self.devices) >= MAX_DEVICES:
            log.warning("%s: more than %d devices", topic.device, MAX_DEVICES)
            return
        state = hear(known or DeviceState(topic.device), said)
        if state.info is None:
            self._ask_once(topic.device)
        self._keep(plan(state, self._context))

    def _ask_once(self, device: str) -> None:
        now_s = time.monotonic()
        if now_s - self._reborn_at_s.get(device, -REBIRTH_S) >= REBIRTH_S:
            self._reborn_at_s[device] = now_s
            self.ask_rebirth(device)

    def _keep(self, state: DeviceState) -> None:
        known = self.devices.get(state.device)
        self.devices[state.device] = state
        self._changed.add(state.device)
        if state.desired is not None and (known is None or state.desired != known.desired):
            # Saved before it is sent: after a crash no revision is used twice.
            self._save()
            self._publish_desired(state)

    def _publish_desired(self, state: DeviceState) -> None:
        if state.desired is not None:
            topic = device_topic(self.site, state.device, Leaf.DESIRED)
            self._broker.publish(topic, encode(state.desired), is_retained=True)

    def _plan_all(self) -> None:
        for state in list(self.devices.values()):
            planned = plan(state, self._context)
            if planned is not state:
                self._keep(planned)

    def _tick(self) -> None:
        published = self._registry.latest()
        if published != self._context.published:
            self._context = Context(
                published, self._context.policies, self._context.artifacts_url
            )
            self._announce_models()
            self._plan_all()
        self._save()

    def _announce_models(self) -> None:
        for model, published in self._context.published.items():
            document = published.ladder.model_dump_json(exclude_none=True).encode()
            if len(document) <= MAX_MESSAGE_BYTES:
                self._broker.publish(model_topic(self.site, model), document, is_retained=True)

    def _save(self) -> None:
        changed, self._changed = self._changed, set()
        self._store.save_devices(self.devices[device] for device in changed)

    def _control(self, payload: bytes) -> None:
        try:
            request = decode(ControlRequest, payload)
        except ProtocolError as error:
            log.warning("control request: %s", error)
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
        return Will(coordinator_status(self.site), encode(status))
