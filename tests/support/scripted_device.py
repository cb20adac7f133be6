"""A device as a script: it speaks the protocol on a real broker and runs nothing."""

import json
import queue
import time
from collections.abc import Callable
from typing import TypeVar

from secateur_protocols.codec import decode, encode
from secateur_protocols.info import Info
from secateur_protocols.message import Message
from secateur_protocols.presence import Presence, PresenceState, Rebirth
from secateur_protocols.state import Desired
from secateur_protocols.topics import RETAINED, Leaf, device_topic, rebirth
from secateur_server.adapters.broker import Broker, Received, Subscription, Will

PATIENCE_S = 30.0
"""How long a test waits for what must come, seconds: the machine may be busy."""

T = TypeVar("T")


def wait_until(look: Callable[[], T | None], *, timeout_s: float = PATIENCE_S) -> T:
    """Look again and again until there is something true; fail after a generous while."""
    until = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < until, "what was waited for did not come"
        time.sleep(0.02)


class ScriptedDevice:
    """One connection that says what a test tells it to."""

    def __init__(
        self, broker_url: str, device: str, info: Info, *, site: str = "default"
    ) -> None:
        self.site = site
        self.device = device
        self.info = info
        self.rebirths: queue.SimpleQueue[Rebirth] = queue.SimpleQueue()
        self._desired: queue.SimpleQueue[Desired] = queue.SimpleQueue()
        death = Presence(state=PresenceState.OFFLINE, boot=info.boot, session=1)
        self._broker = Broker(
            broker_url,
            subscriptions=[
                Subscription(device_topic(site, device, Leaf.DESIRED)),
                Subscription(rebirth(site)),
            ],
            on_message=self._sort,
            will=Will(device_topic(site, device, Leaf.PRESENCE), encode(death)),
        )
        self._broker.start()

    def birth(self, *, session: int = 1) -> None:
        state = PresenceState.ONLINE
        self.say(Leaf.PRESENCE, Presence(state=state, boot=self.info.boot, session=session))
        self.say(Leaf.INFO, self.info)

    def say(self, leaf: Leaf, message: Message) -> None:
        self.say_bytes(leaf, encode(message))

    def say_bytes(self, leaf: Leaf, payload: bytes) -> None:
        topic = device_topic(self.site, self.device, leaf)
        self._broker.publish(topic, payload, is_retained=leaf in RETAINED)

    def next_desired(self, *, timeout_s: float = PATIENCE_S) -> Desired:
        return self._desired.get(timeout=timeout_s)

    def newest_desired(self) -> Desired | None:
        """Give the next one that has come already; ``None``: there is none."""
        try:
            return self._desired.get_nowait()
        except queue.Empty:
            return None

    def hears_nothing(self, *, for_s: float = 1.0) -> bool:
        try:
            self._desired.get(timeout=for_s)
        except queue.Empty:
            return True
        return False

    def close(self) -> None:
        self._broker.stop()

    def _sort(self, received: Received) -> None:
        if received.topic == rebirth(self.site):
            self.rebirths.put(decode(Rebirth, received.payload))
        elif received.payload:
            self._desired.put(decode(Desired, received.payload))


def retained_topics(broker_url: str, topic_filter: str) -> dict[str, dict[str, object]]:
    """Give what the broker keeps below a filter, as a new subscriber gets it."""
    kept: dict[str, dict[str, object]] = {}

    def keep(received: Received) -> None:
        if received.payload:
            kept[received.topic] = json.loads(received.payload)
        else:
            kept.pop(received.topic, None)

    subscription = Subscription(topic_filter, qos=0)
    broker = Broker(broker_url, subscriptions=[subscription], on_message=keep)
    broker.start()
    size = -1
    while size != len(kept):
        size = len(kept)
        time.sleep(0.5)
    broker.stop()
    return kept
