"""What the demo plays, derived from the ladder: how slow, how urgent, how much pressure."""

from dataclasses import dataclass

from secateur_protocols.manifest import Ladder
from secateur_server.core.standing import most_accurate
from secateur_server.errors import InputError

FASTEST_MS = 6.0
"""Latency of the best level on the fastest device: well above the system's own hiccups."""

SLOWNESS = {"gateway": 1.0, "pi-4": 1.7, "pi-zero": 2.7}
"""The hardware classes, and their latency relative to the fastest."""

SLACK = 2.7
"""Deadline relative to the best level's latency: it fits with headroom to spare."""

OVERLOAD = 1.3
"""Latency relative to the deadline that pressure, or a tighter deadline, brings about: more
than a machine's noise, little enough for a narrower level to fit where one is much faster."""

MAX_RATE_HZ = 20.0
MAX_UTILISATION = 0.6
"""Share of the time that the slowest device infers under the greatest pressure."""

ALIKE_RATIO = 0.9
"""A narrower level must take at most this share of the best one's latency: otherwise there is
nothing to adapt with."""


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
        pressed: The device that becomes slower for a while.
        hurried: The device that gets a tighter deadline for a while.
    """

    devices: tuple[DevicePlan, ...]
    best: int
    rate_hz: float
    pressed: str
    hurried: str


def make_scenario(ladder: Ladder) -> Scenario:
    """Choose hardware and deadlines under which the best level fits.

    Raises:
        InputError: The ladder's levels are too much alike in latency to show anything.
    """
    best = most_accurate(ladder, range(len(ladder.levels)))
    best_ms = ladder.levels[best].latency.p50_ms
    narrower_ms = [each.latency.p50_ms for each in ladder.levels[best + 1 :]]
    ratio = min(narrower_ms, default=best_ms) / best_ms
    if ratio > ALIKE_RATIO:
        raise InputError(
            f"below level {best}, the most accurate of {ladder.model}, the fastest takes "
            f"{ratio:.0%} of its latency here: too little to show an adaptation"
        )
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
    slowest_ms = OVERLOAD * max(device.deadline_ms for device in devices)
    return Scenario(
        devices=devices,
        best=best,
        rate_hz=min(MAX_RATE_HZ, MAX_UTILISATION * 1000 / slowest_ms),
        pressed=devices[1].name,
        hurried=devices[0].name,
    )
