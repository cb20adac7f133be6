"""The world of a simulated fleet: how fast, how warm, how busy, how well connected.

Arrays over devices, one step per telemetry period. Chance comes from the scenario's seed, and
nothing a player does changes what is drawn: all players meet the same load, weather and noise.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secateur_server.simulation.scenario import Scenario

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

P95_DEVIATIONS = 1.6449
"""How many standard deviations the 95th percentile of a normal distribution is up."""

COOLED_C = 5.0
"""How much below the limit a throttled device is fast again."""

_Z = np.linspace(-8.0, 8.0, 3201)
_EXCEEDED = np.array([0.5 * math.erfc(z / math.sqrt(2)) for z in _Z])


@dataclass(frozen=True, slots=True)
class Weather:
    """One period, the same for every player.

    Attributes:
        load: Slowdown by what else runs, [devices].
        scatter: Factor of the period's p95, noise and outliers, [devices].
        ambient_c: [devices].
        is_away: Not connected, [devices]; ``is_lost``, ``is_doubled``, ``is_late``: what
            becomes of this period's telemetry.
    """

    load: Floats
    scatter: Floats
    ambient_c: Floats
    is_away: Booleans
    is_lost: Booleans
    is_doubled: Booleans
    is_late: Booleans


class World:
    """Devices, and the weather of each period."""

    def __init__(self, scenario: Scenario, device_count: int) -> None:
        self.scenario = scenario
        self.count = device_count
        self._chance = np.random.default_rng(scenario.seed)
        names = list(scenario.hardware)
        shares = np.array([scenario.hardware[name].share for name in names])
        edges = np.floor(np.cumsum(shares) / shares.sum() * device_count + 1e-9)
        self.class_of = np.searchsorted(edges, np.arange(device_count), side="right")
        self.class_names = names
        self._specs = [scenario.hardware[name] for name in names]
        self.deadline_ms = self._each("deadline_ms")
        self.rate_hz = self._each("rate_hz")
        self.memory_bytes = self._each("memory_mb") * 1e6
        self._heating_c = self._each("heating_c")
        self._is_outdoors = self._each("is_outdoors").astype(bool)
        self.base_ms = self._draw_latencies()
        self.accuracy = np.array(scenario.ladder.accuracies)
        self._burst_left_s = np.zeros(device_count)
        self._burst_slowdown = np.ones(device_count)
        self._away_left_s = np.zeros(device_count)
        self._time_s = 0.0

    def _each(self, what: str) -> Floats:
        return np.array([float(getattr(spec, what)) for spec in self._specs])[self.class_of]

    def _draw_latencies(self) -> Floats:
        """Draw the p95 of each level on each device in calm, [devices, levels], ms."""
        reference_ms = np.array(self.scenario.ladder.latencies_ms)
        log_ratio = np.log(reference_ms / reference_ms[0])
        surprises = np.stack(
            [
                spec.surprise * np.abs(log_ratio) * self._chance.standard_normal(log_ratio.size)
                for spec in self._specs
            ]
        )
        slowness = self._each("slowness") * np.exp(
            self._each("spread") * self._chance.standard_normal(self.count)
        )
        base_ms = slowness[:, None] * reference_ms * np.exp(surprises[self.class_of])
        # A narrower level is never slower: pruning removes work.
        return np.minimum.accumulate(base_ms, axis=1)

    def step(self) -> Weather:
        """Go on by one period."""
        scenario, chance, count = self.scenario, self._chance, self.count
        self._begin_bursts()
        self._begin_absences()
        noise, link = scenario.noise, scenario.link
        scatter = np.exp(noise.between * chance.standard_normal(count))
        outliers = chance.random(count) < noise.outliers_per_hour * scenario.period_s / 3600
        scatter *= np.where(outliers, chance.uniform(*noise.outlier_slowdown, count), 1.0)
        fates = chance.random((3, count))
        weather = Weather(
            load=np.where(self._burst_left_s > 0, self._burst_slowdown, 1.0),
            scatter=scatter,
            ambient_c=self._ambient_c(),
            is_away=self._away_left_s > 0,
            is_lost=fates[0] < link.loss,
            is_doubled=fates[1] < link.doubling,
            is_late=fates[2] < link.reordering,
        )
        self._time_s += scenario.period_s
        return weather

    def _begin_bursts(self) -> None:
        load, period_s = self.scenario.load, self.scenario.period_s
        self._burst_left_s -= period_s
        begins = self._chance.random(self.count) < load.bursts_per_hour * period_s / 3600
        begins &= self._burst_left_s <= 0
        lengths_s = self._chance.exponential(load.burst_s, self.count)
        slowdowns = self._chance.uniform(*load.slowdown, self.count)
        self._burst_left_s = np.where(begins, lengths_s, self._burst_left_s)
        self._burst_slowdown = np.where(begins, slowdowns, self._burst_slowdown)

    def _begin_absences(self) -> None:
        link, period_s = self.scenario.link, self.scenario.period_s
        self._away_left_s -= period_s
        begins = self._chance.random(self.count) < link.absences_per_day * period_s / 86400
        begins &= self._away_left_s <= 0
        lengths_s = self._chance.exponential(link.absence_s, self.count)
        self._away_left_s = np.where(begins, lengths_s, self._away_left_s)

    def _ambient_c(self) -> Floats:
        heat, hour = self.scenario.heat, self._time_s / 3600 % 24
        ambient_c = heat.ambient_c + heat.swing_c * math.sin((hour - 9) / 24 * 2 * math.pi)
        is_wave = heat.wave_from_h <= hour < heat.wave_to_h
        return ambient_c + np.where(self._is_outdoors & is_wave, heat.wave_c, 0.0)

    def utilisation(self, p95_ms: Floats) -> Floats:
        """Say which share of the time devices infer, at most all of it."""
        p50_ms = p95_ms / math.exp(P95_DEVIATIONS * self.scenario.noise.within)
        return np.minimum(1.0, self.rate_hz * p50_ms / 1000)

    def warm_up(self, temperature_c: Floats, p95_ms: Floats, ambient_c: Floats) -> Floats:
        """Give the temperatures at the end of a period."""
        goal_c = ambient_c + self._heating_c * self.utilisation(p95_ms)
        share = 1 - math.exp(-self.scenario.period_s / self.scenario.heat.settle_s)
        warmer: Floats = temperature_c + share * (goal_c - temperature_c)
        return warmer

    def late_share(self, p95_ms: Floats) -> Floats:
        """Say which share of a period's inferences is later than the deadline."""
        deviations = np.log(self.deadline_ms / p95_ms) / self.scenario.noise.within
        share: Floats = np.interp(deviations + P95_DEVIATIONS, _Z, _EXCEEDED)
        return share


class Body:
    """What a player does to the devices: their temperature and whether they throttle."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.temperature_c = np.full(world.count, world.scenario.heat.ambient_c + 10.0)
        self.is_throttled = np.zeros(world.count, bool)

    def true_p95_ms(self, weather: Weather) -> Floats:
        """Give what each level takes in this period, without its noise, [devices, levels]."""
        slow = np.where(self.is_throttled, self._world.scenario.heat.throttled_slowdown, 1.0)
        return self._world.base_ms * (weather.load * slow)[:, None]

    def run(self, weather: Weather, levels: Integers) -> Floats:
        """Infer for a period at these levels.

        Returns:
            The p95 that was measured, [devices], ms.
        """
        world, heat = self._world, self._world.scenario.heat
        p95_ms = self.true_p95_ms(weather)[np.arange(world.count), levels] * weather.scatter
        self.temperature_c = world.warm_up(self.temperature_c, p95_ms, weather.ambient_c)
        self.is_throttled = np.where(
            self.is_throttled,
            self.temperature_c > heat.limit_c - COOLED_C,
            self.temperature_c > heat.limit_c,
        )
        return p95_ms
