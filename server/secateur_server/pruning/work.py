"""One network, whole or without blocks, whose channels are ranked and tried for removal."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.allocation import Curve, allowed_widths, curve_of, worthwhile
from secateur_server.pruning.bases import Base, affordable_samples
from secateur_server.pruning.budget import Prices, Resource, SumModel
from secateur_server.pruning.channels import ChannelGroup
from secateur_server.pruning.cost import total_macs
from secateur_server.pruning.distillation.extra import require_jax
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.plan import ChannelPlan, plan_channels, staying
from secateur_server.pruning.saliency import Ranking, Saliency, rank_by
from secateur_server.pruning.search import Proposal, Search
from secateur_server.pruning.selection import free_groups, rank_group
from secateur_server.pruning.sharing import share
from secateur_server.pruning.task import Pruned, Task

WORK_MACS = 2e10
"""Multiply-accumulates that trying may take per level, where nothing else is asked for."""

FEWEST, MOST = 4, 12
"""Networks tried per level, where nothing else is asked for."""


def trials(task: Task) -> int:
    """Say how many networks are tried per level."""
    if task.options.search is not None:
        return task.options.search
    work = total_macs(task.graph) * affordable_samples(task, FEWEST, WORK_MACS)
    return int(np.clip(WORK_MACS // max(work, 1), FEWEST, MOST))


class Narrowing:
    """One base, and what is known of its channels.

    Attributes:
        divergence: How far the base is from the original before any channel leaves.
    """

    def __init__(self, base: Base, divergence: float = 0.0) -> None:
        self.base = base
        self.divergence = divergence
        self.task = base.task
        self.groups = free_groups(base.graph, base.channels)
        self._orders = _orders(base.task.options.saliency)
        self._rankings: dict[tuple[int, int], Ranking] = {}
        self._models: dict[Prices, SumModel] = {}
        self._fast: Search | None = None

    def ranking(self, group: ChannelGroup, order: int) -> Ranking:
        """Rank a group's channels in one of the ways that are tried."""
        if (group.key, order) not in self._rankings:
            self._rankings[group.key, order] = self._rank(group, self._orders[order])
        return self._rankings[group.key, order]

    @cached_property
    def curves(self) -> list[Curve]:
        """Say what each group loses at each width."""
        if self.groups:
            self._prepare()
        found = share(lambda group: self.ranking(group, 0), self.groups)
        curves: list[Curve] = []
        for group, ranking in zip(self.groups, found, strict=True):
            self.task.progress(len(curves) / len(self.groups), f"ranking {group.name}")
            curves.append(curve_of(group, ranking, allowed_widths(group.size)))
        return curves

    def note_curves(self) -> None:
        """Leave with the task what each group loses, for the report."""
        names = [group.name for group in self.groups]
        self.task.curves.update(zip(names, self.curves, strict=True))

    @cached_property
    def search(self) -> Search:
        """Look for the best of the networks that can be."""
        return self._search(self.curves)

    def search_by(self, prices: Prices, resource: Resource) -> Search:
        """Look only among widths that save time, where it is time that counts."""
        if resource is not Resource.LATENCY:
            return self.search
        if self._fast is None:
            model = self.model(prices)
            self._fast = self._search(worthwhile(self.curves, model.cost_around))
        return self._fast

    def _search(self, curves: Sequence[Curve]) -> Search:
        random = np.random.default_rng(self.task.options.seed)
        return Search(curves, len(self._orders), self._judge, random)

    def model(self, prices: Prices) -> SumModel:
        """Say what widths cost, in units of the original network's cost."""
        if prices not in self._models:
            orders = [self.ranking(group, 0).order for group in self.groups]
            self._models[prices] = SumModel(
                self.base.graph, self.base.channels, self.groups, prices, orders
            )
        return self._models[prices]

    def plan(self, proposal: Proposal, rule: str) -> ChannelPlan:
        """Write a proposal down."""
        chosen = zip(self.groups, proposal.widths, proposal.orders, strict=True)
        leaving, rankings = {}, {}
        for group, width, order in chosen:
            leaving[group.key] = group.size - width
            rankings[group.key] = self.ranking(group, order)
        plan = plan_channels(self.groups, rankings, leaving, rule)
        return plan.model_copy(update={"blocks": self.base.block_plans()})

    def prune(self, proposal: Proposal, rule: str) -> Pruned:
        """Carry a proposal out with all samples."""
        self.task.progress(1.0, f"reconstructing {rule}")
        plan, after = self.plan(proposal, rule), self.fit(proposal)
        return Pruned(rule, plan, self.base.source, self.base.graph, after)

    def fit(
        self, proposal: Proposal, samples: int | None = None, fitted_to: int | None = None
    ) -> Graph:
        """Carry a proposal out, fitted as a network that is kept.

        Args:
            proposal: Widths, and who leaves.
            samples: How many of the calibration set are run. ``None``: all.
            fitted_to: To how many of these it is fitted. ``None``: to all.
        """
        stays = staying(self.plan(proposal, ""), self.base.channels)
        return self.base.fit(stays, samples, fitted_to).graph

    def _judge(self, proposal: Proposal) -> float:
        return self.judge(proposal, affordable_samples(self.task, FEWEST, WORK_MACS))

    def judge(self, proposal: Proposal, samples: int) -> float:
        """Say how far a proposal diverges once it is fitted to so many samples."""
        stays = staying(self.plan(proposal, ""), self.base.channels)
        return self.base.divergence(stays, samples)

    @cached_property
    def _fisher(self) -> npt.NDArray[np.float64]:
        require_jax()
        from secateur_server.pruning.fisher import fisher_scores  # noqa: PLC0415 - needs JAX

        self.task.progress(0.0, "taking gradients")
        seed = self.task.options.seed
        return fisher_scores(self.base.graph, self.base.channels, self.task.feeds, seed)

    def _prepare(self) -> None:
        """Compute what all rankings need: that is shared work itself."""
        _ = self._fisher if Saliency.FISHER in self._orders else self.base.seen

    def _rank(self, group: ChannelGroup, saliency: Saliency) -> Ranking:
        if saliency is Saliency.FISHER:
            return rank_by(self._fisher[group.channels])
        return rank_group(
            self.base.graph,
            self.base.channels,
            group,
            self.base.seen.moments,
            saliency,
            seed=self.task.options.seed,
        )


def _orders(saliency: Saliency) -> Sequence[Saliency]:
    """Say which rankings the search may take besides the one asked for."""
    if saliency is Saliency.OBS:
        return (Saliency.OBS, Saliency.OBS_DAMPED, Saliency.ACTIVATION)
    return (saliency,)
