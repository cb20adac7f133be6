"""The planner in a simulated world on a virtual clock: no broker, no waiting.

Messages are the protocol's own classes, and `core.fleet` and `core.coordinator` are the ones
that a real coordinator runs. Only encoding and transport are left out; the link's faults are
played. Messages are built unchecked: what the simulation makes keeps its bounds.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from secateur_protocols.info import EngineInfo, Hardware, Info, ModelTask
from secateur_protocols.manifest import Ladder
from secateur_protocols.state import LadderRef
from secateur_protocols.telemetry import MAX_HISTORY, ModelTelemetry, Resources, Telemetry
from secateur_server.core.coordinator import Context, Published, plan
from secateur_server.core.fleet import DeviceState, hear, learn_from
from secateur_server.core.policy import Policies
from secateur_server.simulation.players import Player
from secateur_server.simulation.report import Tally
from secateur_server.simulation.scenario import Scenario, make_ladder
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
        self._world = world
        self.ladder = make_ladder(world.scenario.ladder)
        self.context = Context(
            {self.ladder.model: _publish(self.ladder)}, policies or Policies(), "-"
        )
        self.states = [
            plan(hear(DeviceState(f"d-{number}"), self._birth(number)), self.context)
            for number in range(world.count)
        ]
        start = [_wish(state) for state in self.states]
        self.levels: Integers = np.array(start)
        self._under_way: dict[int, tuple[int, float]] = {}
        self._held = [{level} for level in start]
        self._recent_ms: list[tuple[float, ...]] = [()] * world.count
        self._waiting: dict[int, Telemetry] = {}
        self._sequence = 0

    def choose(self, _body: Body, weather: Weather) -> Integers:
        """Let devices arrive where they were told to be; who is away hears nothing."""
        for number, (level, left_s) in list(self._under_way.items()):
            if weather.is_away[number]:
                continue
            if left_s > 0:
                self._under_way[number] = (level, left_s - self._world.scenario.period_s)
                continue
            del self._under_way[number]
            self.levels[number] = level
            self._held[number].add(level)
            self._recent_ms[number] = ()
        return self.levels

    def learn(self, measured_ms: Floats, body: Body, weather: Weather) -> None:
        """Send every device's telemetry over its link, and plan for what arrives."""
        utilisation = self._world.utilisation(measured_ms).tolist()
        temperature_c, throttled = body.temperature_c.tolist(), body.is_throttled.tolist()
        is_away = weather.is_away.tolist()
        is_odd = (weather.is_lost | weather.is_doubled | weather.is_late).tolist()
        for number, p95_ms in enumerate(measured_ms.tolist()):
            recent_ms = (*self._recent_ms[number][1 - MAX_HISTORY :], p95_ms)
            self._recent_ms[number] = recent_ms
            if is_away[number]:
                continue
            telemetry = self._telemetry(
                number, recent_ms, utilisation[number], temperature_c[number], throttled[number]
            )
            if is_odd[number] or number in self._waiting:
                for each in self._transmit(number, telemetry, weather):
                    self._arrive(number, each)
            else:
                self._arrive(number, telemetry)
        self._sequence += 1
        minute = round(self._sequence * self._world.scenario.period_s / 60)
        self.context = replace(self.context, minute_of_day=minute % (24 * 60))

    def _transmit(self, number: int, telemetry: Telemetry, weather: Weather) -> list[Telemetry]:
        """Play the link: what arrives of this message and of one that was held back."""
        held_back = self._waiting.pop(number, None)
        late = [] if held_back is None else [held_back]
        if weather.is_lost[number]:
            return late
        if weather.is_late[number]:
            self._waiting[number] = telemetry
            return late
        return [telemetry, *([telemetry] if weather.is_doubled[number] else []), *late]

    def _arrive(self, number: int, telemetry: Telemetry) -> None:
        before = self.states[number]
        heard = hear(before, telemetry)
        if heard is before:
            return
        beliefs = learn_from(self.context.beliefs, before, heard)
        if beliefs is not self.context.beliefs:
            self.context = replace(self.context, beliefs=beliefs)
        after = plan(heard, self.context)
        self.states[number] = after
        if after.desired is not before.desired:
            self._follow(number, _wish(after))

    def _follow(self, number: int, level: int) -> None:
        """Begin to go where the coordinator wants the device; a newer wish supersedes."""
        self._under_way.pop(number, None)
        if level != self.levels[number]:
            is_held = level in self._held[number]
            left_s = 0.0 if is_held else self._world.scenario.fetch_s
            self._under_way[number] = (level, left_s - self._world.scenario.period_s)

    def _telemetry(
        self,
        number: int,
        recent_ms: tuple[float, ...],
        cpu_share: float,
        temperature_c: float,
        throttled: bool,  # noqa: FBT001 - one of a device's sensors
    ) -> Telemetry:
        manifest = self.ladder.levels[self.levels[number]]
        measured = ModelTelemetry.model_construct(
            model=self.ladder.model,
            version=self.ladder.version,
            level=manifest.level,
            digest=manifest.digest,
            precision="float32",
            deadline_ms=0.0,
            p50_ms=recent_ms[-1],
            p95_ms=recent_ms[-1],
            p99_ms=recent_ms[-1],
            recent_p95_ms=recent_ms,
            since_switch_s=0.0,
            offered=0,
            answered=0,
            dropped=0,
            lost=0,
            deadline_misses=0,
            switches=0,
            served=(),
            prefetched=(),
        )
        free = int(self._world.memory_bytes[number]) - (manifest.peak_memory_bytes or 0)
        resources = Resources.model_construct(
            cpu_share=cpu_share,
            cpu_pressure=None,
            memory_total_bytes=None,
            memory_available_bytes=max(0, free),
            temperature_c=temperature_c,
            throttled=throttled,
            battery_ratio=None,
            on_mains=None,
            disk_free_bytes=None,
        )
        return Telemetry.model_construct(
            boot=1,
            sequence=self._sequence,
            sent_at="",
            period_s=self._world.scenario.period_s,
            resources=resources,
            models=(measured,),
        )

    def _birth(self, number: int) -> Info:
        return make_birth(self._world, number, self.ladder.model)


def make_birth(world: World, number: int, model: str) -> Info:
    """Say what a simulated device is."""
    hardware_class = world.class_names[world.class_of[number]]
    return Info(
        boot=1,
        agent_version="simulated",
        hardware=Hardware(
            machine="simulated",
            cpu_model=hardware_class,
            cores=1,
            memory_bytes=int(world.memory_bytes[number]),
            hardware_class=hardware_class,
            simulated=True,
        ),
        engine=EngineInfo(name="simulated", version="1", threads=1),
        tasks=(ModelTask(model=model, deadline_ms=float(world.deadline_ms[number])),),
        labels={},
    )


def _publish(ladder: Ladder) -> Published:
    document = ladder.model_dump_json().encode()
    digest = hashlib.sha256(document).hexdigest()
    ref = LadderRef(version=ladder.version, digest=digest, size_bytes=len(document))
    return Published(ref, ladder)


def _wish(state: DeviceState) -> int:
    return state.desired.models[0].level if state.desired else 0
