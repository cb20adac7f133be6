"""What the demo plays, derived from the ladder: how slow, how urgent, how much pressure."""

from dataclasses import dataclass

from secateur_protocols.manifest import Ladder
from secateur_server.core.planner import most_accurate
from secateur_server.errors import InputError

FASTEST_MS = 6.0
"""Latency of the best level on the fastest device: well above the system's own hiccups."""

SLOWNESS = {"gateway": 1.0, "pi-4": 1.7, "pi-zero": 2.7}
"""The hardware classes, and their latency relative to the fastest."""

SLACK = 1.8
"""Deadline relative to the best level's latency: it fits with headroom to spare."""

MAX_RATE_HZ = 20.0
WIDEST_USEFUL_RATIO = 0.9
"""A narrower level must be at least this much faster than the best one: otherwise no
pressure makes one fit and not the other."""

MAX_PRESSURE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """One device that is played.

    Attributes:
        slowdown: How many times longer an inference takes than on this machine.
    """

    name: str
    hardware_class: str
    slowdown: float
    deadline_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The whole play.

    Attributes:
        best: The level that the planner prefers while there is no pressure.
        pressure: By how much the device under pressure becomes slower, and by how much the
            other one's deadline becomes tighter.
    """

    devices: tuple[DevicePlan, ...]
    best: int
    rate_hz: float
    pressure: float
    pressed: str
    hurried: str


def make_scenario(ladder: Ladder) -> Scenario:
    """Choose numbers under which the best level fits at first and a narrower one later.

    Raises:
        InputError: The ladder's levels are too much alike in latency to show anything.
    """
    best = most_accurate(ladder, range(len(ladder.levels)))
    best_ms = ladder.levels[best].latency.p50_ms
    narrower_ms = [each.latency.p50_ms for each in ladder.levels[best + 1 :]]
    ratio = min(narrower_ms, default=best_ms) / best_ms
    if ratio > WIDEST_USEFUL_RATIO:
        raise InputError(
            f"below level {best}, the most accurate of {ladder.model}, the fastest takes "
            f"{ratio:.0%} of its latency here: too little to show an adaptation"
        )
    # Midway, on a logarithmic scale, between "best just misses" and "narrowest just fits".
    pressure = min(MAX_PRESSURE, (SLACK * SLACK / ratio) ** 0.5)
    fastest_ms = max(FASTEST_MS, best_ms)
    devices = tuple(
        DevicePlan(
            name=f"demo-{name}",
            hardware_class=name,
            slowdown=slowness * fastest_ms / best_ms,
            deadline_ms=SLACK * slowness * fastest_ms,
        )
        for name, slowness in SLOWNESS.items()
    )
    slowest_ms = fastest_ms * max(SLOWNESS.values())
    rate_hz = min(MAX_RATE_HZ, 1000 / (1.5 * slowest_ms * pressure))
    return Scenario(
        devices=devices,
        best=best,
        rate_hz=rate_hz,
        pressure=pressure,
        pressed=devices[1].name,
        hurried=devices[0].name,
    )
