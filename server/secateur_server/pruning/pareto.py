"""Which candidates make a rung of the ladder: those that nothing else beats in every way."""

from collections.abc import Sequence
from dataclasses import dataclass

LATENCY_NOISE = 0.02
"""Latencies closer than this share count as equal: machines are noisy."""

MEMORY_NOISE = 0.05
"""The same for memory."""


@dataclass(frozen=True, slots=True)
class Merits:
    """What was measured of a candidate.

    Attributes:
        accuracy: Larger is better.
        p50_ms: Reference latency.
        size_bytes: Of the file as it travels, compressed.
        macs: Only orders the rungs.
        memory_bytes: ``None``: not measured.
        is_conditional: Whether it is of use on some devices only: what is good about it was
            not measured here, so it is not compared with what is of use everywhere.
    """

    accuracy: float
    p50_ms: float
    size_bytes: int
    macs: int
    memory_bytes: int | None = None
    is_conditional: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate that is no rung.

    Attributes:
        rival: Which one is nowhere worse and somewhere better. ``None``: it is less
            accurate than the floor.
    """

    index: int
    rival: int | None = None

    def reason(self, rules: Sequence[str]) -> str:
        """Say why, given what made each candidate."""
        if self.rival is None:
            return "its accuracy is below the floor"
        return f"{rules[self.rival]} is nowhere worse and somewhere better"


def rungs(
    merits: Sequence[Merits], floor: float | None = None
) -> tuple[list[int], list[Dropped]]:
    """Choose the rungs among candidates.

    Args:
        merits: The first is the dense network, which always stays.
        floor: Candidates less accurate than this are left out.

    Returns:
        Indices of those that stay, the dense one first, then by falling MACs and size; and
        those that do not stay.
    """
    dropped = [
        Dropped(k)
        for k, each in enumerate(merits)
        if k > 0 and floor is not None and each.accuracy < floor
    ]
    # One after the other, so that of several that are as good as each other one stays.
    alive = set(range(len(merits))) - {each.index for each in dropped}
    for k in sorted(alive - {0}):
        rival = next((j for j in sorted(alive - {k}) if _beats(merits, j, k)), None)
        if rival is not None:
            alive.remove(k)
            dropped.append(Dropped(k, rival))
    narrower = sorted(alive - {0}, key=lambda k: (-merits[k].macs, -merits[k].size_bytes, k))
    return [0, *narrower], dropped


def _beats(merits: Sequence[Merits], one: int, other: int) -> bool:
    """Whether a candidate is nowhere worse and somewhere better; of equals the earlier."""
    if one == other:
        return False
    first, second = merits[one], merits[other]
    if first.is_conditional != second.is_conditional:
        return False
    gains = (
        first.accuracy - second.accuracy,
        _gain(first.p50_ms, second.p50_ms, LATENCY_NOISE),
        float(second.size_bytes - first.size_bytes),
        _gain(first.memory_bytes, second.memory_bytes, MEMORY_NOISE),
    )
    if min(gains) < 0:
        return False
    return max(gains) > 0 or one < other


def _gain(one: float | None, other: float | None, noise: float) -> float:
    """Say by how much one is less than the other; 0 within the noise, or unknown."""
    if one is None or other is None or abs(one - other) <= noise * max(one, other):
        return 0.0
    return other - one
