"""The short search: try a handful of networks for real and keep the one that is closest.

What removing a channel loses is known group by group; what all of it together loses is
not. So the groups' losses are weighted by chance, each weighting gives widths, and each
network is reconstructed from a part of the calibration set and judged by the rest.

Source:
    Frantar and Alistarh, "SPDY: Accurate Pruning with Speedup Guarantees", ICML 2022,
    arXiv:2201.13096, section 3.2, for the search over per-layer weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from secateur_server.pruning.allocation import CostModel, Curve, Widths, allocate, uniform
from secateur_server.pruning.cost import total_macs
from secateur_server.pruning.divergence import divergence
from secateur_server.pruning.narrowing import Stays
from secateur_server.pruning.reconstruction import reconstruct
from secateur_server.pruning.task import Task

SEARCH_SAMPLES = 320
"""Samples that a network is tried on."""

FITTED_SHARE = 0.6
"""Share of these that it is fitted to; the others judge it."""

WORK_MACS = 3e10
"""Multiply-accumulates that trying may take per level, where nothing else is asked for."""

FEWEST, MOST = 4, 64
"""Networks tried per level, where nothing else is asked for."""

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


Judge = Callable[[Proposal], float]
"""Gives the divergence of a proposal; smaller is better."""


def judge_of(task: Task, stays_of: Callable[[Proposal], Stays]) -> Judge:
    """Reconstruct a proposal from a part of the samples and judge it by the others."""
    teacher = task.teacher
    samples = min(SEARCH_SAMPLES, teacher.samples)
    fitted_to = max(1, round(FITTED_SHARE * samples))
    judged = slice(fitted_to if fitted_to < samples else 0, samples)

    def judge(proposal: Proposal) -> float:
        found = reconstruct(
            task.graph,
            task.channels,
            stays_of(proposal),
            teacher,
            samples=samples,
            fitted_to=fitted_to,
        )
        return divergence(task.graph, teacher.outputs, found.outputs, judged)

    return judge


def trials(task: Task) -> int:
    """Say how many networks are tried per level."""
    if task.options.search is not None:
        return task.options.search
    work = total_macs(task.graph) * min(SEARCH_SAMPLES, task.teacher.samples)
    return int(np.clip(WORK_MACS // max(work, 1), FEWEST, MOST))


class Search:
    """Looks for the widths and orders that diverge least."""

    def __init__(
        self, curves: Sequence[Curve], orders: int, judge: Judge, random: np.random.Generator
    ) -> None:
        """Begin.

        Args:
            curves: One per group.
            orders: How many rankings each group has.
            judge: Gives a proposal's divergence.
            random: Where chance comes from.
        """
        self._curves = curves
        self._orders = orders
        self._judge = judge
        self._random = random
        self._weights = [1.0] * len(curves)

    def meet(self, model: CostModel, budget: float, count: int) -> Proposal:
        """Choose widths and orders under a budget.

        What was learnt about weights at one budget is where the next one begins.

        Raises:
            UnreachableBudgetError: No widths are cheap enough.
        """
        first = (0,) * len(self._curves)
        tried: dict[Proposal, float] = {}
        self._try(tried, Proposal(self._widths(model, budget, self._weights), first))
        self._try(tried, Proposal(uniform(self._curves, model, budget), first))
        for _ in range(4 * count):
            if len(tried) >= count:
                break
            best = min(tried, key=tried.__getitem__)
            if self._random.random() < ORDER_SHARE and self._orders > 1:
                self._try(tried, self._reordered(best))
                continue
            moves = np.exp(SPREAD * self._random.normal(size=len(first)))
            weights = (moves * self._weights).tolist()
            proposal = Proposal(self._widths(model, budget, weights), best.orders)
            if self._try(tried, proposal) and proposal == min(tried, key=tried.__getitem__):
                self._weights = weights
        return min(tried, key=tried.__getitem__)

    def reorder(self, widths: Widths, count: int) -> Proposal:
        """Choose only who leaves, at given widths."""
        tried: dict[Proposal, float] = {}
        self._try(tried, Proposal(widths, (0,) * len(self._curves)))
        for _ in range(4 * count):
            if len(tried) >= count or self._orders == 1:
                break
            self._try(tried, self._reordered(min(tried, key=tried.__getitem__)))
        return min(tried, key=tried.__getitem__)

    def _reordered(self, best: Proposal) -> Proposal:
        group = int(self._random.integers(len(best.orders)))
        order = int(self._random.integers(self._orders))
        orders = (*best.orders[:group], order, *best.orders[group + 1 :])
        return Proposal(best.widths, orders)

    def _widths(self, model: CostModel, budget: float, weights: Sequence[float]) -> Widths:
        return allocate(self._curves, model, budget, weights)

    def _try(self, tried: dict[Proposal, float], proposal: Proposal) -> bool:
        if proposal in tried:
            return False
        tried[proposal] = self._judge(proposal)
        return True
