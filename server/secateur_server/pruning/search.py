"""The short search: try a handful of networks for real and keep the one that is closest.

What removing a channel loses is known group by group; what all of it together loses is
not. So the groups' losses are weighted by chance, each weighting gives widths, and each
network is reconstructed and judged on a part of the calibration set.

Source:
    Frantar and Alistarh, "SPDY: Accurate Pruning with Speedup Guarantees", ICML 2022,
    arXiv:2201.13096, section 3.2, for the search over per-layer weights.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from secateur_server.pruning.allocation import (
    CostModel,
    Curve,
    UnreachableBudgetError,
    Widths,
    allocate,
    uniform,
)

SPREAD = 0.7
"""How far a group's weight is moved: the standard deviation of its logarithm."""

ORDER_SHARE = 0.4
"""How often a trial takes another order of leaving for a group, not another weighting."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One network to try.

    Attributes:
        widths: By group.
        orders: By group, which of its rankings says who leaves.
    """

    widths: Widths
    orders: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The best proposal, and how far it diverges."""

    proposal: Proposal
    divergence: float


@dataclass(slots=True)
class Search:
    """Looks for the widths and orders that diverge least.

    Attributes:
        curves: One per group.
        orders: How many rankings each group has.
        judge: Gives a proposal's divergence; smaller is better.
        random: Where chance comes from.
        weights: How much each group's losses count. What is learnt at one budget is where
            the next one begins.
    """

    curves: Sequence[Curve]
    orders: int
    judge: Callable[[Proposal], float]
    random: np.random.Generator
    weights: tuple[float, ...] = field(default=())

    def __post_init__(self) -> None:
        """Let all groups count alike at first."""
        self.weights = self.weights or (1.0,) * len(self.curves)

    def meet(self, model: CostModel, budget: float, count: int) -> list[Found]:
        """Choose widths and orders under a budget.

        Args:
            model: What widths cost.
            budget: The most they may cost.
            count: How many networks are tried.

        Returns:
            All that were tried.

        Raises:
            UnreachableBudgetError: No widths are cheap enough.
        """
        first = (0,) * len(self.curves)
        tried: dict[Proposal, float] = {}
        self._try(tried, Proposal(allocate(self.curves, model, budget, self.weights), first))
        if count > 1:
            with suppress(UnreachableBudgetError):  # less is not always faster
                self._try(tried, Proposal(uniform(self.curves, model, budget), first))
        for _ in range(4 * count * bool(first)):  # without a group there is but one network
            if len(tried) >= count:
                break
            best = _best(tried).proposal
            if self.orders > 1 and self.random.random() < ORDER_SHARE:
                self._try(tried, self._reordered(best))
                continue
            moves = np.exp(SPREAD * self.random.normal(size=len(first)))
            weights = tuple((moves * self.weights).tolist())
            proposal = Proposal(allocate(self.curves, model, budget, weights), best.orders)
            if self._try(tried, proposal) and proposal == _best(tried).proposal:
                self.weights = weights
        return [Found(proposal, divergence) for proposal, divergence in tried.items()]

    def reorder(self, widths: Widths, count: int) -> Found:
        """Choose only who leaves, at given widths."""
        tried: dict[Proposal, float] = {}
        self._try(tried, Proposal(widths, (0,) * len(self.curves)))
        for _ in range(4 * count):
            if len(tried) >= count or self.orders == 1 or not widths:
                break
            self._try(tried, self._reordered(_best(tried).proposal))
        return _best(tried)

    def _reordered(self, best: Proposal) -> Proposal:
        group = int(self.random.integers(len(best.orders)))
        order = int(self.random.integers(self.orders))
        return Proposal(best.widths, (*best.orders[:group], order, *best.orders[group + 1 :]))

    def _try(self, tried: dict[Proposal, float], proposal: Proposal) -> bool:
        if proposal in tried:
            return False
        tried[proposal] = self.judge(proposal)
        return True


def _best(tried: dict[Proposal, float]) -> Found:
    proposal = min(tried, key=tried.__getitem__)
    return Found(proposal, tried[proposal])
