"""How narrow each group becomes under one budget for the whole network.

Each group has a curve: what is lost at each width that it may have. A cost model says what
all widths together cost. The greedy way down takes, step by step, the move that loses
least for what it saves; then groups trade places where that loses less.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from secateur_server.pruning.channels import ChannelGroup
from secateur_server.pruning.saliency import Ranking

TILE = 8
"""Engines compute channels in tiles of 8 to 32; a width between two of them costs as much
as the next one. 8 divides them all."""

SMALL = 32
"""Groups below this have half such steps: whole tiles would leave them hardly a choice."""

NARROWEST_RATIO = 0.125
"""No group keeps less: beyond that a block is better taken out as a whole."""

LEAST_SAVED = 0.03
"""Of the time of the operators around a group: less is noise of the measurement."""

Widths = tuple[int, ...]
"""How many channels of each group stay."""


class CostModel(Protocol):
    """What a network costs at given widths."""

    def cost(self, widths: Sequence[int]) -> float:
        """Give the cost in units of the dense network's: 1 at full widths."""


CostAround = Callable[[int, Sequence[int]], float]
"""What the operators that make or read a group cost: by its number and all widths."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One group's choices.

    Attributes:
        widths: Ascending; the last is the whole group.
        losses: What is lost at each, descending to 0.
    """

    widths: tuple[int, ...]
    losses: tuple[float, ...]

    def loss(self, width: int) -> float:
        """Give what is lost at one of the widths."""
        return self.losses[self.widths.index(width)]


class UnreachableBudgetError(Exception):
    """Even the cheapest widths cost more.

    Attributes:
        least: What these cost, in units of the dense network's.
    """

    def __init__(self, least: float) -> None:
        super().__init__(f"the narrowest possible is {least:.3f}")
        self.least = least


def allowed_widths(size: int, tile: int = TILE) -> tuple[int, ...]:
    """List the widths that a group may have, ascending; the last is its size."""
    step = tile if size >= SMALL else max(1, tile // 2)
    least = max(1, round(NARROWEST_RATIO * size))
    return tuple(sorted({k for k in range(step, size, step) if k >= least} | {size}))


def curve_of(group: ChannelGroup, ranking: Ranking, widths: Sequence[int]) -> Curve:
    """Add up what the removals down to each width lose."""
    lost = np.concatenate([[0.0], np.cumsum(ranking.errors)])
    losses = tuple(float(lost[min(group.size - width, len(lost) - 1)]) for width in widths)
    return Curve(tuple(widths), losses)


def worthwhile(curves: Sequence[Curve], cost_around: CostAround) -> list[Curve]:
    """Leave only widths that save something where the group is made and read.

    Engines compute in tiles: often a narrower operator takes as long as the next wider one,
    or longer. What counts is whether the width saves something while the other groups are
    whole, or while they are half as wide.

    Args:
        curves: One per group.
        cost_around: Gives the cost of the operators around a group at given widths of all.
    """
    whole = [curve.widths[-1] for curve in curves]
    half = [_nearest(curve, 0.5) for curve in curves]
    found = []
    for k, curve in enumerate(curves):

        def costs(width: int, k: int = k) -> tuple[float, ...]:
            return tuple(
                cost_around(k, (*others[:k], width, *others[k + 1 :]))
                for others in (whole, half)
            )

        kept = [curve.widths[-1]]
        least = costs(kept[0])
        for width in reversed(curve.widths[:-1]):
            now = costs(width)
            if any(
                each < (1 - LEAST_SAVED) * best for each, best in zip(now, least, strict=True)
            ):
                kept.append(width)
                least = tuple(map(min, now, least))
        kept.reverse()
        found.append(Curve(tuple(kept), tuple(curve.loss(width) for width in kept)))
    return found


def uniform(curves: Sequence[Curve], model: CostModel, budget: float) -> Widths:
    """Narrow all groups by one share, as little as the budget allows.

    Raises:
        UnreachableBudgetError: No share is enough.
    """
    best: Widths | None = None
    for ratio in np.linspace(0.0, 1.0, 201):
        widths = tuple(_nearest(curve, float(ratio)) for curve in curves)
        if model.cost(widths) <= budget:
            best = widths
            break
    if best is None:
        raise UnreachableBudgetError(model.cost(tuple(curve.widths[0] for curve in curves)))
    return best


def _nearest(curve: Curve, ratio: float) -> int:
    wanted = (1.0 - ratio) * curve.widths[-1]
    return min(curve.widths, key=lambda width: (abs(width - wanted), width))


def allocate(
    curves: Sequence[Curve], model: CostModel, budget: float, weights: Sequence[float]
) -> Widths:
    """Choose widths whose weighted losses add up to as little as possible.

    Args:
        curves: One per group.
        model: What widths cost.
        budget: The most they may cost, in units of the dense network.
        weights: How much each group's losses count.

    Raises:
        UnreachableBudgetError: Where no narrower width saves anything more, they cost more.
    """
    widths = tuple(curve.widths[-1] for curve in curves)
    while (cost := model.cost(widths)) > budget:
        moved = _cheapest_move(curves, model, weights, widths, cost)
        if moved == widths:
            raise UnreachableBudgetError(cost)
        widths = moved
    return _trade(curves, model, budget, weights, widths)


def _cheapest_move(
    curves: Sequence[Curve],
    model: CostModel,
    weights: Sequence[float],
    widths: Widths,
    cost: float,
) -> Widths:
    """Narrow one group, by one step or several, where it loses least for what it saves.

    Where nothing saves anything, all widths stay.
    """
    best, best_price = widths, np.inf
    for k, curve in enumerate(curves):
        for width in curve.widths[: curve.widths.index(widths[k])]:
            moved = _with(widths, k, width)
            saved = cost - model.cost(moved)
            lost = weights[k] * (curve.loss(width) - curve.loss(widths[k]))
            if saved > 0 and lost / saved < best_price:
                best, best_price = moved, lost / saved
    return best


def _trade(
    curves: Sequence[Curve],
    model: CostModel,
    budget: float,
    weights: Sequence[float],
    widths: Widths,
) -> Widths:
    """Widen one group, and narrow another if that is what it takes, while losses fall."""
    for _ in range(10 * len(curves)):
        better = _best_trade(curves, model, budget, weights, widths)
        if better is None:
            break
        widths = better
    return widths


def _best_trade(
    curves: Sequence[Curve],
    model: CostModel,
    budget: float,
    weights: Sequence[float],
    widths: Widths,
) -> Widths | None:
    def lost(chosen: Widths) -> float:
        return sum(
            weight * curve.loss(width)
            for weight, curve, width in zip(weights, curves, chosen, strict=True)
        )

    best, best_lost = None, lost(widths) * (1 - 1e-9)
    for wider in _neighbours(curves, widths, +1):
        trades = [wider]
        if model.cost(wider) > budget:
            trades = _neighbours(curves, wider, -1)
        for trade in trades:
            if lost(trade) < best_lost and model.cost(trade) <= budget:
                best, best_lost = trade, lost(trade)
    return best


def _neighbours(curves: Sequence[Curve], widths: Widths, step: int) -> list[Widths]:
    found = []
    for k, curve in enumerate(curves):
        at = curve.widths.index(widths[k]) + step
        if 0 <= at < len(curve.widths):
            found.append(_with(widths, k, curve.widths[at]))
    return found


def _with(widths: Widths, k: int, width: int) -> Widths:
    return (*widths[:k], width, *widths[k + 1 :])
