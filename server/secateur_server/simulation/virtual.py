"""The planner in a simulated world on a virtual clock: no broker, no waiting.

Messages are the protocol's own classes, and `core.fleet` and `core.coordinator` are the ones
that a real coordinator runs. Only encoding and transport are left out; the link's faults are
played.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from secateur_protocols.manifest import Ladder
from secateur_protocols.state import LadderRef
from secateur_server.core.context import Context, Published
from secateur_server.core.coordinator import plan
from secateur_server.core.fleet import DeviceState, hear, learn_from
from secateur_server.core.policy import Policies
from secateur_server.simulation.devices import Devices
from secateur_server.simulation.players import Player
from secateur_server.simulation.report import Tally
from secateur_server.simulation.scenario import Scenario
from secateur_server.simulation.world import Body, Floats, Integers, Weather, World


def play(
    scenario: Scenario,
    device_count: int,
    make_player: Callable[[World], Player],
) -> Tally:
    """Let a player live through the scenario; all players meet the same weather."""
    world = World(scenario, device_count)
    body, tally, player = Body(world), Tally(world), make_player(world)
    for _ in range(round(scenario.hours * 3600 / scenario.period_s)):
        weather = world.step()
        levels = player.choose(body, weather)
        measured_ms = body.run(weather, levels)
        tally.count(levels, measured_ms)
        player.learn(measured_ms, body, weather)
    return tally


class Planner:
    """The real planner as a player: one coordinator and its devices."""

    def __init__(self, world: World, policies: Policies | None = None) -> None:
        self._period_s = world.scenario.period_s
        self._devices = Devices(world)
        ladder = self._devices.ladder
        self.context = Context({ladder.model: _publish(ladder)}, policies or Policies(), "-")
        self.states = [DeviceState(f"d-{number}") for number in range(world.count)]
        self._time_s = 0.0
        for number, state in enumerate(self.states):
            self._plan(number, state, hear(state, self._devices.birth_of(number)))

    @property
    def said(self) -> int:
        """How many messages of telemetry devices have sent."""
        return self._devices.said

    def choose(self, _body: Body, weather: Weather) -> Integers:
        """Let devices get where they were told to."""
        return self._devices.arrive(weather)

    def learn(self, measured_ms: Floats, body: Body, weather: Weather) -> None:
        """Hear what arrives of every device's telemetry, and plan."""
        for number, telemetry in self._devices.tell(measured_ms, body, weather):
            before = self.states[number]
            heard = hear(before, telemetry)
            if heard is not before:
                self._plan(number, before, heard)
        self._time_s += self._period_s
        minute_of_day = int(self._time_s // 60 % (24 * 60))
        self.context = replace(self.context, minute_of_day=minute_of_day)

    def _plan(self, number: int, before: DeviceState, heard: DeviceState) -> None:
        beliefs = learn_from(self.context.beliefs, before, heard)
        if beliefs is not self.context.beliefs:
            self.context = replace(self.context, beliefs=beliefs)
        after = plan(heard, self.context)
        self.states[number] = after
        if after.desired is not None and after.desired is not before.desired:
            self._devices.wish(number, after.desired)


def _publish(ladder: Ladder) -> Published:
    document = ladder.model_dump_json().encode()
    digest = hashlib.sha256(document).hexdigest()
    ref = LadderRef(version=ladder.version, digest=digest, size_bytes=len(document))
    return Published(ref, ladder)
