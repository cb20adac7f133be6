"""Simulated agents: where each device is, where it was told to go, and what it says."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from secateur_protocols.codec import M
from secateur_protocols.info import EngineInfo, Hardware, Info, ModelTask
from secateur_protocols.manifest import Ladder, Manifest
from secateur_protocols.plain import MAX_HISTORY
from secateur_protocols.state import Desired
from secateur_protocols.telemetry import ModelTelemetry, Resources, Telemetry
from secateur_server.simulation.scenario import make_ladder
from secateur_server.simulation.silence import Moment, Silence
from secateur_server.simulation.world import Body, Floats, Integers, Weather, World

NO_RESOURCES = Resources()

SENSED = ("cpu_share", "memory_available_bytes", "temperature_c", "throttled")
"""What a simulated device has sensors for."""


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
        self._memory_bytes = world.memory_bytes.astype(np.int64)
        self._level_bytes = np.array(
            [each.peak_memory_bytes or 0 for each in self.ladder.levels]
        )
        self._period = 0
        self._said = [0] * world.count
        self._silence = Silence(
            world.scenario.silence, world.deadline_ms, world.scenario.period_s
        )
        # Copied with a period's values: to make a message anew takes several times as long.
        self._measured = [_measure(self.ladder, each) for each in self.ladder.levels]
        self._silent = Telemetry(
            boot=1,
            sequence=0,
            sent_at="",
            period_s=world.scenario.period_s,
            silence_s=world.scenario.silence.silence_s + world.scenario.period_s,
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
                memory_bytes=int(self._memory_bytes[number]),
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

    @property
    def said(self) -> int:
        """How many messages of telemetry all devices have sent."""
        return sum(self._said)

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
            self._switched[number] = self._period
        return self.levels

    def tell(
        self, measured_ms: Floats, body: Body, weather: Weather
    ) -> Iterator[tuple[int, Telemetry]]:
        """Give the telemetry of a period as it arrives after its link's faults.

        A period on which a device has nothing to say is left out.
        """
        self._period += 1
        rows = enumerate(self._rows(measured_ms, body, weather))
        for number, (p95_ms, level, says, is_odd, *sensed) in rows:
            recent_ms = (*self._recent_ms[number][1 - MAX_HISTORY :], p95_ms)
            self._recent_ms[number] = recent_ms
            if not says:
                if number in self._held_back and not weather.is_away[number]:
                    yield number, self._held_back.pop(number)
                continue
            self._said[number] += 1
            resources = _renew(NO_RESOURCES, dict(zip(SENSED, sensed, strict=True)))
            telemetry = self._telemetry(number, level, recent_ms, resources)
            if is_odd or number in self._held_back:
                yield from self._transmit(number, telemetry, weather)
            else:
                yield number, telemetry

    def _rows(
        self, measured_ms: Floats, body: Body, weather: Weather
    ) -> Iterator[tuple[Any, ...]]:
        """Give, device by device, its p95, its level, whether it speaks, and its sensors."""
        utilisation = self._world.utilisation(measured_ms)
        moment = Moment(
            measured_ms, self.levels, utilisation, body.temperature_c, body.is_throttled
        )
        columns = (
            measured_ms,
            self.levels,
            self._silence.end_with(moment, weather.is_away),
            weather.is_lost | weather.is_doubled | weather.is_late,
            utilisation,
            np.maximum(0, self._memory_bytes - self._level_bytes[self.levels]),
            body.temperature_c,
            body.is_throttled,
        )
        return zip(*[each.tolist() for each in columns], strict=True)

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

    def _telemetry(
        self, number: int, level: int, recent_ms: tuple[float, ...], resources: Resources
    ) -> Telemetry:
        p95_ms, periods = recent_ms[-1], self._period - self._switched[number]
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
            {"sequence": self._said[number], "resources": resources, "models": (measured,)},
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
