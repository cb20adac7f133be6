"""The whole fleet as the broker shows it: a fold over messages. No clock, no I/O.

apply(topic, payload, at_s)   one message; what breaks the protocol changes nothing
rows()                        every model on every device
"""

from collections.abc import Iterator
from typing import TypeVar

from secateur_protocols.codec import decode
from secateur_protocols.errors import MalformedTopicError, ProtocolError
from secateur_protocols.manifest import Ladder
from secateur_protocols.messages import MESSAGES
from secateur_protocols.presence import CoordinatorStatus, PresenceState
from secateur_protocols.rollout import RolloutStatus
from secateur_protocols.topics import (
    ROOT,
    Leaf,
    coordinator_status,
    model_topic,
    parse_device_topic,
    rollout_topic,
)
from secateur_server.dashboard.device import Device
from secateur_server.dashboard.recording import Recording
from secateur_server.dashboard.rows import Row

MAX_DEVICES = 50_000
"""More are not shown: memory must have a bound, and names can be invented."""

MAX_MODELS = 500
MAX_ROLLOUTS = 500
MAX_COORDINATORS = 50

SHOWN = frozenset(set(Leaf) - {Leaf.BLOCKS_REQUEST, Leaf.BLOCKS_DATA})
"""Leaves of a device's branch that are looked at."""


T = TypeVar("T")


class Fleet:
    """All that one connection has heard of one site.

    Attributes:
        devices: By name.
        ladders: The announced version of each model.
        rollouts: By name.
        coordinators: What each coordinator says of itself; the only one is ``""``.
        version: Grows with everything that may be seen.
        ignored: Messages that broke the protocol, or had no room.
    """

    def __init__(self, site: str, recording: Recording | None = None) -> None:
        self.devices: dict[str, Device] = {}
        self.ladders: dict[str, Ladder] = {}
        self.rollouts: dict[str, RolloutStatus] = {}
        self.coordinators: dict[str, CoordinatorStatus] = {}
        self.recording = Recording() if recording is None else recording
        self.version = 0
        self.ignored = 0
        self._site_topics = f"{ROOT}/{site}/"
        self._site = site

    def apply(self, topic: str, payload: bytes, at_s: float) -> None:
        """Take one message into account.

        Args:
            topic: Where it came.
            payload: Undecoded; empty: what was retained there is gone.
            at_s: Now, UTC seconds since 1970.
        """
        try:
            is_news = self._apply(topic, payload, at_s)
        except ProtocolError:
            self.ignored += 1
            return
        if is_news:
            self.version += 1

    def rows(self) -> Iterator[Row]:
        """Give a row for each model of each device."""
        for device in self.devices.values():
            yield from device.rows

    @property
    def is_coordinated(self) -> bool | None:
        """Whether a coordinator is there; ``None``: none was heard of."""
        if not self.coordinators:
            return None
        return any(each.state is PresenceState.ONLINE for each in self.coordinators.values())

    def _apply(self, topic: str, payload: bytes, at_s: float) -> bool:
        if not topic.startswith(self._site_topics):
            raise MalformedTopicError(topic)
        if topic.startswith(f"{self._site_topics}_"):
            return self._apply_shared(topic, payload)
        where = parse_device_topic(topic)
        if where.leaf not in SHOWN:
            return False
        if not payload:
            return self._empty(where.device, where.leaf)
        said = decode(MESSAGES[where.leaf], payload)
        device = self.devices.get(where.device)
        if device is None:
            if len(self.devices) >= MAX_DEVICES:
                self.ignored += 1
                return False
            device = self.devices[where.device] = Device(where.device)
        is_news = device.hear(said, at_s)
        if is_news and where.leaf is Leaf.TELEMETRY:
            self.recording.add(where.device, payload, at_s)
        return is_news

    def _empty(self, device: str, leaf: Leaf) -> bool:
        """Forget a device whose birth is gone (rule W6)."""
        if leaf is not Leaf.INFO or device not in self.devices:
            return False
        del self.devices[device]
        self.recording.forget(device)
        return True

    def _apply_shared(self, topic: str, payload: bytes) -> bool:
        status = coordinator_status(self._site)
        if topic == status or topic.startswith(f"{status}/"):
            return self._keep(
                self.coordinators,
                topic[len(status) + 1 :],
                decode(CoordinatorStatus, payload) if payload else None,
                MAX_COORDINATORS,
            )
        name = topic.rsplit("/", 1)[1]
        if topic == model_topic(self._site, name):
            ladder = decode(Ladder, payload) if payload else None
            return self._keep(self.ladders, name, ladder, MAX_MODELS)
        if topic == rollout_topic(self._site, name):
            rollout = decode(RolloutStatus, payload) if payload else None
            return self._keep(self.rollouts, name, rollout, MAX_ROLLOUTS)
        return False

    @staticmethod
    def _keep(kept: dict[str, T], name: str, value: T | None, most: int) -> bool:
        if value is None:
            return kept.pop(name, None) is not None
        if name not in kept and len(kept) >= most:
            return False
        kept[name] = value
        return True
