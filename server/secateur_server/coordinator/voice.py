"""All that a coordinator says to the broker but its answers to operators."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from secateur_protocols.codec import MAX_MESSAGE_BYTES, encode
from secateur_protocols.ids import ModelName
from secateur_protocols.presence import CoordinatorStatus, PresenceState, Rebirth
from secateur_protocols.rollout import RolloutId, RolloutStatus
from secateur_protocols.topics import (
    RETAINED,
    Leaf,
    coordinator_status,
    device_topic,
    model_topic,
    rebirth,
    rollout_topic,
)
from secateur_server.adapters.broker import Broker, Will
from secateur_server.core.context import Published
from secateur_server.core.fleet import DeviceState
from secateur_server.core.inventory import Inventory

MAX_BURST = 500
"""Desired states said again per turn, so that saying it to a large fleet stalls nobody."""

ROUND_DEVICES = 150
"""Devices whose retained topics are asked for per tick: three each, well below the 1,000
messages that brokers queue for a client."""

SILENT_S = 10.0
"""At most one rebirth of everybody is asked for in this time, seconds."""

FEW = 5
"""So many silent devices are asked one by one; more are asked all at once."""


class StatusLine:
    """What one coordinator says of itself, and the broker once it is gone."""

    def __init__(self, site: str, replica: str | None) -> None:
        self._topic = coordinator_status(site, replica)
        self._since = datetime.now(UTC).isoformat(timespec="seconds")

    def of(self, state: PresenceState) -> Will:
        """Spell it, with its topic."""
        status = CoordinatorStatus(state=state, since=self._since)
        return Will(self._topic, encode(status))


class Voice:
    """Says what was decided; decides nothing."""

    def __init__(
        self, broker: Broker, site: str, devices: Mapping[str, DeviceState], status: StatusLine
    ) -> None:
        self._broker = broker
        self._site = site
        self._devices = devices
        self._status = status
        self._unsaid: deque[str] = deque()
        self._wants_rebirth = False
        self._next_rebirth_s = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether there is more to say than one turn may."""
        return bool(self._unsaid)

    def introduce(self) -> None:
        """Say that we are there, and begin to say again what is wanted of every device."""
        status = self._status.of(PresenceState.ONLINE)
        self._broker.publish(status.topic, status.payload, is_retained=True)
        self._unsaid = deque(self._devices)

    def say_desired(self, devices: Iterable[str]) -> None:
        """Tell devices what is wanted of them, and some more of those that wait for it."""
        self._say(devices)
        self._say(self._unsaid.popleft() for _ in range(min(MAX_BURST, len(self._unsaid))))

    def _say(self, devices: Iterable[str]) -> None:
        for device in devices:
            state = self._devices.get(device)
            if state is not None and state.desired is not None:
                topic = device_topic(self._site, device, Leaf.DESIRED)
                self._broker.publish(topic, encode(state.desired), is_retained=True)

    def announce(self, models: Mapping[ModelName, Published]) -> None:
        """Say the ladders that devices may be told to go to; one too long is left out."""
        for model, published in models.items():
            document = published.ladder.model_dump_json(exclude_none=True).encode()
            if len(document) <= MAX_MESSAGE_BYTES:
                topic = model_topic(self._site, model)
                self._broker.publish(topic, document, is_retained=True)

    def say_rollouts(self, statuses: Iterable[tuple[RolloutId, RolloutStatus | None]]) -> None:
        """Say where rollouts stand; of one that is forgotten, empty the topic."""
        for rollout, status in statuses:
            payload = b"" if status is None else encode(status)
            topic = rollout_topic(self._site, rollout)
            self._broker.publish(topic, payload, is_retained=True)

    def ask_for_missing(self, inventory: Inventory, now_s: float) -> None:
        """Ask for retained topics by name, then for rebirths of who stays silent (rule W8)."""
        asked = inventory.next_round(ROUND_DEVICES)
        if asked:
            self._broker.fetch([device_topic(self._site, *each) for each in asked])
        self._wake(inventory.take_silent(), now_s)

    def _wake(self, silent: Sequence[str], now_s: float) -> None:
        if len(silent) <= FEW:
            for device in silent:
                self.ask_rebirth(device)
        else:
            self._wants_rebirth = True
        if self._wants_rebirth and now_s >= self._next_rebirth_s:
            self._wants_rebirth = False
            self._next_rebirth_s = now_s + SILENT_S
            self.ask_rebirth(None)

    def ask_rebirth(self, device: str | None) -> None:
        """Have one device, or all, say everything again."""
        self._broker.publish(rebirth(self._site), encode(Rebirth(device=device)))

    def empty(self, device: str) -> None:
        """Empty the retained topics of a device that is forgotten (rule W6)."""
        for leaf in RETAINED:
            topic = device_topic(self._site, device, leaf)
            self._broker.publish(topic, b"", is_retained=True)
