"""Simulated agents: where each device is, where it was told to go, and what it says."""

from collections.abc import Iterator, Mapping

import numpy as np

from secateur_protocols.codec import M
from secateur_protocols.info import EngineInfo, Hardware, Info, ModelTask
from secateur_protocols.manifest import Ladder, Manifest
from secateur_protocols.plain import MAX_HISTORY
from secateur_protocols.state import Desired
from secateur_protocols.telemetry import ModelTelemetry, Resources, Telemetry
from secateur_server.simulation.scenario import make_ladder
from secateur_server.simulation.world import Body, Floats, Integers, Weather, World

NO_RESOURCES = Resources()


class Devices:
    """All agents of a simulated fleet, each with one model; they begin at the narrowest level.

    Messages are built unchecked: what the simulation makes keeps its bounds.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.count = world.count
        self.ladder = make_ladder(world.scenario.ladder)
        self.levels: Integers = np.full(world.count, world.accuracy.size - 1)
        self._held = [{world.accuracy.size - 1} for _ in range(world.count)]
        self._under_way: dict[int, tuple[int, float]] = {}
        self._revisions: dict[int, int] = {}
        self._recent_ms: list[tuple[float, ...]] = [()] * world.count
        self._held_back: dict[int, Telemetry] = {}
        self._switched = [0] * world.count
        self._memory_bytes: list[int] = world.memory_bytes.astype(int).tolist()
        self._level_bytes = [each.peak_memory_bytes or 0 for each in self.ladder.levels]
        self._sequence = 0
        # Copied with a period's values: to make a message anew takes several times as long.
        self._measured = [_measure(self.ladder, each) for each in self.ladder.levels]
        self._silent = Telemetry(
            boot=1,
            sequence=0,
            sent_at="",
            period_s=world.scenario.period_s,
            resources=NO_RESOURCES,
            models=(),
        )

    def birth_of(self, number: int) -> Info:
        """Say what a device is."""
        world = self._world
        hardware_class = world.class_names[world.class_of[number]]
        return Info(
            boot=1,
            agent_version="simulated",
            hardware=Hardware(
                machine="simulated",
                cpu_model=hardware_class,
                cores=1,
                memory_bytes=self._memory_bytes[number],
                hardware_class=hardware_class,
                simulated=True,
            ),
            engine=EngineInfo(name="simulated", version="1", threads=1),
            tasks=(
                ModelTask(
                    model=self.ladder.model, deadline_ms=float(world.deadline_ms[number])
                ),
            ),
            labels={},
        )

    def running(self, number: int) -> Manifest:
        """Say what a device runs."""
        return self.ladder.levels[int(self.levels[number])]

    def revision_of(self, number: int) -> int:
        """Say which desired state a device has heard last; 0: none."""
        return self._revisions.get(number, 0)

    def wish(self, number: int, desired: Desired) -> bool:
        """Begin to go where the coordinator wants a device; a newer wish supersedes.

        Returns:
            Whether it was news.
        """
        if desired.revision <= self.revision_of(number) or not desired.models:
            return False
        self._revisions[number] = desired.revision
        self._under_way.pop(number, None)
        level = desired.models[0].level
        if level != self.levels[number]:
            fetch_s = 0.0 if level in self._held[number] else self._world.scenario.fetch_s
            self._under_way[number] = (level, fetch_s - self._world.scenario.period_s)
        return True

    def arrive(self, weather: Weather) -> Integers:
        """Let devices get where they were told to; who is away stays."""
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
            self._switched[number] = self._sequence
        return self.levels

    def tell(
        self, measured_ms: Floats, body: Body, weather: Weather
    ) -> Iterator[tuple[int, Telemetry]]:
        """Give the telemetry of a period as it arrives after its link's faults."""
        utilisation = self._world.utilisation(measured_ms).tolist()
        temperature_c, throttled = body.temperature_c.tolist(), body.is_throttled.tolist()
        levels, is_away = self.levels.tolist(), weather.is_away.tolist()
        is_odd = (weather.is_lost | weather.is_doubled | weather.is_late).tolist()
        self._sequence += 1
        for number, p95_ms in enumerate(measured_ms.tolist()):
            recent_ms = (*self._recent_ms[number][1 - MAX_HISTORY :], p95_ms)
            self._recent_ms[number] = recent_ms
            if is_away[number]:
                continue
            resources = _renew(
                NO_RESOURCES,
                {
                    "cpu_share": utilisation[number],
                    "memory_available_bytes": self._free_bytes(number, levels[number]),
                    "temperature_c": temperature_c[number],
                    "throttled": throttled[number],
                },
            )
            telemetry = self._telemetry(number, levels[number], recent_ms, resources)
            if is_odd[number] or number in self._held_back:
                yield from self._transmit(number, telemetry, weather)
            else:
                yield number, telemetry

    def _transmit(
        self, number: int, telemetry: Telemetry, weather: Weather
    ) -> Iterator[tuple[int, Telemetry]]:
        held_back = self._held_back.pop(number, None)
        if weather.is_late[number] and not weather.is_lost[number]:
            self._held_back[number] = telemetry
        elif not weather.is_lost[number]:
            yield number, telemetry
            if weather.is_doubled[number]:
                yield number, telemetry
        if held_back is not None:
            yield number, held_back

    def _free_bytes(self, number: int, level: int) -> int:
        return max(0, self._memory_bytes[number] - self._level_bytes[level])

    def _telemetry(
        self, number: int, level: int, recent_ms: tuple[float, ...], resources: Resources
    ) -> Telemetry:
        p95_ms, periods = recent_ms[-1], self._sequence - self._switched[number]
        measured = _renew(
            self._measured[level],
            {
                "p50_ms": p95_ms,
                "p95_ms": p95_ms,
                "p99_ms": p95_ms,
                "recent_p95_ms": recent_ms,
                "since_switch_s": periods * self._silent.period_s,
            },
        )
        return _renew(
            self._silent,
            {"sequence": self._sequence, "resources": resources, "models": (measured,)},
        )


def _renew(message: M, changes: Mapping[str, object]) -> M:
    """Copy a message with other values, unchecked.

    As `model_copy` does, in a third of its time: a simulated day is millions of messages.
    """
    renewed = object.__new__(type(message))
    _set(renewed, "__dict__", {**message.__dict__, **changes})
    _set(renewed, "__pydantic_fields_set__", message.__pydantic_fields_set__)
    _set(renewed, "__pydantic_extra__", None)
    _set(renewed, "__pydantic_private__", None)
    return renewed


_set = object.__setattr__  # past a message's own, which refuses


def _measure(ladder: Ladder, manifest: Manifest) -> ModelTelemetry:
    """Make what a device says of a level, but for its latencies."""
    return ModelTelemetry(
        model=ladder.model,
        version=ladder.version,
        level=manifest.level,
        digest=manifest.digest,
        precision="float32",
        deadline_ms=0.0,
        since_switch_s=0.0,
        offered=0,
        answered=0,
        dropped=0,
        lost=0,
        deadline_misses=0,
        switches=0,
    )
