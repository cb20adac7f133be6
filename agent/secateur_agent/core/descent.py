"""Which model steps down alone when a limit is crossed, and how long it stays there."""

from collections.abc import Mapping
from dataclasses import dataclass

from secateur_agent.core import guard, standby, swap
from secateur_protocols.ids import ModelName
from secateur_protocols.manifest import Manifest
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import DesiredModel


@dataclass(frozen=True, slots=True)
class Lid:
    """A model stays as narrow as it made itself until another wish for it arrives.

    Attributes:
        wish: What the coordinator wanted when the model stepped down; repeating it opens
            nothing.
    """

    wish: swap.Target
    level: int
    reason: ReasonCode


def holds(lid: Lid | None, wish: DesiredModel) -> bool:
    """Say whether a wish has to wait: it was there before the model stepped down."""
    if lid is None:
        return False
    is_same = lid.wish == swap.Target(wish.ladder, wish.level)
    return is_same and wish.level < lid.level


def choose(
    crossed: guard.Crossing,
    since_switch_s: Mapping[ModelName, float],
    swaps: Mapping[ModelName, swap.SwapState],
    standbys: Mapping[ModelName, standby.StandbyState],
) -> ModelName | None:
    """Choose the model that steps down for a limit of the whole device.

    One at a time: the one that saves most of what is short. The next only if it has not
    helped in a while.

    Returns:
        ``None``: none has a narrower level standing by, or one has just switched.
    """
    if not all(guard.is_due(crossed, each) for each in since_switch_s.values()):
        return None
    savings = {
        model: saving
        for model, state in standbys.items()
        if (saving := _saving(crossed.reason, swaps[model], state)) is not None
    }
    return max(savings, key=lambda model: savings[model], default=None)


def _saving(
    reason: ReasonCode, machine: swap.SwapState, state: standby.StandbyState
) -> int | None:
    if state.phase is not standby.Phase.READY or state.artifact is None:
        return None
    if machine.incumbent is None:
        return None
    cost = _memory_bytes if reason is ReasonCode.SLO_MEMORY else _macs
    return cost(machine.incumbent.manifest) - cost(state.artifact.manifest)


def _memory_bytes(manifest: Manifest) -> int:
    return manifest.peak_memory_bytes or manifest.size_bytes


def _macs(manifest: Manifest) -> int:
    return manifest.macs
