"""The simulated world on the real protocol: many devices to a connection, a real coordinator.

A connection publishes for all of its devices and subscribes to what is desired of each, so a
last will cannot be theirs: their presence is said by message. Time is the scenario's, `speed`
times faster than the clock on the wall.
"""

import queue
import time
from collections.abc import Iterable
from dataclasses import dataclass

from secateur_protocols.codec import decode, encode
from secateur_protocols.errors import ProtocolError
from secateur_protocols.presence import Presence, PresenceState, Rebirth
from secateur_protocols.state import Desired, Reported, ReportedModel
from secateur_protocols.telemetry import Telemetry
from secateur_protocols.topics import (
    QOS,
    RETAINED,
    Leaf,
    device_topic,
    parse_device_topic,
    rebirth,
)
from secateur_server.adapters.broker import Broker, Received, Subscription
from secateur_server.errors import InputError
from secateur_server.simulation.devices import Devices
from secateur_server.simulation.report import Tally
from secateur_server.simulation.scenario import Scenario
from secateur_server.simulation.world import Body, World

MAX_SUBSCRIPTIONS = 500
"""Topic filters in one SUBSCRIBE packet."""

SETTLE_S = 5.0
"""How long the coordinator may take to greet the fleet before time begins, seconds."""


@dataclass(slots=True)
class _Line:
    """One connection and the devices behind it."""

    broker: Broker
    numbers: range


class SpokenDevices:
    """Simulated devices that are heard and told over a real broker."""

    def __init__(
        self, devices: Devices, broker_url: str, *, site: str, connections: int
    ) -> None:
        """Connect and say every device's birth.

        Raises:
            InputError: There is no broker.
        """
        self._devices = devices
        self._site = site
        self._sequence = 0
        self._arrived: queue.SimpleQueue[Received] = queue.SimpleQueue()
        self._lines: list[_Line] = []
        count = devices.count
        share = -(-count // min(connections, count))
        try:
            for begin in range(0, count, share):
                self._connect(broker_url, range(begin, min(begin + share, count)))
        except InputError:
            self.close()
            raise
        self.birth(range(count))

    def _connect(self, broker_url: str, numbers: range) -> None:
        topics = [device_topic(self._site, self._name(n), Leaf.DESIRED) for n in numbers]
        topics.append(rebirth(self._site))
        broker = Broker(broker_url, subscriptions=[], on_message=self._arrived.put)
        self._lines.append(_Line(broker, numbers))
        broker.start()
        for begin in range(0, len(topics), MAX_SUBSCRIPTIONS):
            broker.subscribe(
                [Subscription(each) for each in topics[begin : begin + MAX_SUBSCRIPTIONS]]
            )

    def birth(self, numbers: Iterable[int]) -> None:
        """Say presence, info and reported of some devices."""
        for number in numbers:
            presence = Presence(state=PresenceState.ONLINE, boot=1, session=1)
            self._say(number, Leaf.PRESENCE, encode(presence))
            self._say(number, Leaf.INFO, encode(self._devices.birth_of(number)))
            self.report(number)

    def report(self, number: int) -> None:
        """Say what a device runs."""
        manifest = self._devices.running(number)
        reported = Reported(
            boot=1,
            sequence=self._sequence,
            revision=self._devices.revision_of(number),
            models=(
                ReportedModel(
                    model=self._devices.ladder.model,
                    version=self._devices.ladder.version,
                    level=manifest.level,
                    digest=manifest.digest,
                ),
            ),
        )
        self._sequence += 1
        self._say(number, Leaf.REPORTED, encode(reported))

    def send(self, number: int, telemetry: Telemetry) -> None:
        """Publish one telemetry message."""
        self._say(number, Leaf.TELEMETRY, encode(telemetry))

    def obey(self, until_s: float) -> None:
        """Take in what is desired until a point of the monotonic clock."""
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                received = self._arrived.get(timeout=left_s)
            except queue.Empty:
                return
            self._take(received)

    def close(self) -> None:
        """Leave the broker."""
        for line in self._lines:
            line.broker.stop()

    def _take(self, received: Received) -> None:
        try:
            if received.topic == rebirth(self._site):
                self._answer_rebirth(decode(Rebirth, received.payload))
            elif received.payload:
                name = parse_device_topic(received.topic).device
                number = int(name.rpartition("-")[2])
                if self._devices.wish(number, decode(Desired, received.payload)):
                    self.report(number)
        except (ProtocolError, ValueError):
            return  # of another fleet

    def _answer_rebirth(self, asked: Rebirth) -> None:
        if asked.device is None:
            # Each connection hears it; the first answers for all.
            self.birth(range(self._devices.count))
        elif asked.device.startswith(PREFIX):
            self.birth([int(asked.device.rpartition("-")[2])])

    def _say(self, number: int, leaf: Leaf, payload: bytes) -> None:
        line = next(each for each in self._lines if number in each.numbers)
        topic = device_topic(self._site, self._name(number), leaf)
        line.broker.publish(topic, payload, is_retained=leaf in RETAINED, qos=QOS[leaf])

    @staticmethod
    def _name(number: int) -> str:
        return f"{PREFIX}{number}"


PREFIX = "sim-"


def play_on_broker(
    scenario: Scenario,
    device_count: int,
    broker_url: str,
    *,
    site: str,
    speed: float,
    connections: int,
) -> Tally:
    """Let a running coordinator live through the scenario.

    The ladder must be published there, under its name and with its artifacts' digests.

    Raises:
        InputError: There is no broker.
    """
    world = World(scenario, device_count)
    body, tally = Body(world), Tally(world)
    devices = Devices(world)
    spoken = SpokenDevices(devices, broker_url, site=site, connections=connections)
    try:
        spoken.obey(time.monotonic() + SETTLE_S)
        for _ in range(round(scenario.hours * 3600 / scenario.period_s)):
            until_s = time.monotonic() + scenario.period_s / speed
            weather = world.step()
            levels = devices.arrive(weather)
            measured_ms = body.run(weather, levels)
            tally.count(levels, measured_ms)
            for number, telemetry in devices.tell(measured_ms, body, weather):
                spoken.send(number, telemetry)
            spoken.obey(until_s)
    finally:
        spoken.close()
    return tally
