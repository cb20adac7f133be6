"""Who chooses levels in a simulation without the planner: rules to compare it with.

Each sees what its rule needs and no more, but the two that say so: the oracle knows every
true latency, and the best fixed level is chosen with hindsight.
"""

from typing import Protocol

import numpy as np

from secateur_server.simulation.world import Body, Booleans, Floats, Integers, Weather, World


class Player(Protocol):
    """Chooses a level per device and period."""

    def choose(self, body: Body, weather: Weather) -> Integers:
        """Choose for the period that begins."""

    def learn(self, measured_ms: Floats, body: Body, weather: Weather) -> None:
        """See what was measured in it."""


class Fixed:
    """The same level for ever: always dense, always narrowest, or one per hardware class."""

    def __init__(self, levels: Integers) -> None:
        self._levels = levels

    def choose(self, _body: Body, _weather: Weather) -> Integers:
        """Choose for the period that begins."""
        return self._levels

    def learn(self, measured_ms: Floats, body: Body, weather: Weather) -> None:
        """See what was measured in it."""


class Greedy:
    """A threshold rule without beliefs, one level at a time.

    Narrower above the deadline or the temperature limit, wider below `wider_share` of the
    deadline. Telemetry that does not arrive changes nothing.
    """

    def __init__(self, world: World, *, wider_share: float) -> None:
        self._world = world
        self._wider_share = wider_share
        self._narrowest = world.accuracy.size - 1
        self._levels = np.full(world.count, self._narrowest)

    def choose(self, _body: Body, _weather: Weather) -> Integers:
        """Choose for the period that begins."""
        return self._levels

    def learn(self, measured_ms: Floats, body: Body, weather: Weather) -> None:
        """Step up or down by what was measured."""
        arrived: Booleans = ~(weather.is_away | weather.is_lost)
        hot = body.temperature_c > self._world.scenario.heat.limit_c
        down = (measured_ms > self._world.deadline_ms) | hot
        up = ~down & (measured_ms < self._wider_share * self._world.deadline_ms)
        step = np.where(down, 1, np.where(up, -1, 0)) * arrived
        self._levels = np.clip(self._levels + step, 0, self._narrowest)


class Oracle:
    """Knows every true latency and temperature to come; switches at no cost.

    The most accurate level whose true p95 keeps the deadline, that keeps the device below its
    temperature limit, and fits into memory; the narrowest where none does.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        memory = np.array(world.scenario.ladder.memory_mb) * 1e6
        self._fits_memory = memory[None, :] <= world.memory_bytes[:, None]

    def choose(self, body: Body, weather: Weather) -> Integers:
        """Choose for the period that begins."""
        world = self._world
        p95_ms = body.true_p95_ms(weather)
        fits = (p95_ms <= world.deadline_ms[:, None]) & self._fits_memory
        for level in range(world.accuracy.size):
            after_c = world.warm_up(body.temperature_c, p95_ms[:, level], weather.ambient_c)
            fits[:, level] &= after_c <= world.scenario.heat.limit_c
        worth = np.where(fits, world.accuracy[None, :], -1.0)
        chosen: Integers = np.argmax(worth, axis=1)
        return np.where(fits.any(axis=1), chosen, world.accuracy.size - 1)

    def learn(self, measured_ms: Floats, body: Body, weather: Weather) -> None:
        """Learn nothing: it knows."""
