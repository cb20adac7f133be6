"""Structured methods: channels leave, evenly or where it hurts least under a budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from secateur_server.errors import InputError, NothingToDoError
from secateur_server.pruning.allocation import (
    Curve,
    UnreachableBudgetError,
    Widths,
    allowed_widths,
    curve_of,
)
from secateur_server.pruning.bases import (
    Base,
    affordable_samples,
    shortened,
    whole,
)
from secateur_server.pruning.blocks import find_blocks
from secateur_server.pruning.budget import Budget, Prices, Resource, SumModel, prices_of
from secateur_server.pruning.channels import ChannelGroup
from secateur_server.pruning.cost import total_macs
from secateur_server.pruning.distillation.extra import require_jax
from secateur_server.pruning.latency import latency_prices
from secateur_server.pruning.plan import ChannelPlan, plan_channels, staying
from secateur_server.pruning.saliency import Ranking, Saliency, rank_by
from secateur_server.pruning.search import Found, Proposal, Search
from secateur_server.pruning.selection import free_groups, rank_group
from secateur_server.pruning.task import Pruned, Task

WIDEST_RATIO = 0.75
"""Share of its channels that a group loses at the narrowest level, where no ratio is asked
for."""

DEFAULT_BUDGET = Budget(Resource.MACS, 0.25)
"""Of the narrowest level, where no budget is asked for: multiply-accumulates are the same
on every engine."""

WORK_MACS = 2e10
"""Multiply-accumulates that trying may take per level, where nothing else is asked for."""

FEWEST, MOST = 4, 12
"""Networks tried per level, where nothing else is asked for."""

FEW = 3
"""The same for each base that lacks blocks."""

MOST_BLOCKS = 3
"""Blocks that a network under a budget may lose at most."""

BLOCK_WORK_MACS = 1e11
"""Multiply-accumulates that trying blocks may take; networks that need more keep theirs."""

AS_CLOSE = 1.1
"""Of networks that diverge at most so many times as far as the closest one, the fastest is
taken: a budget of MACs is there to make a network fast."""

AS_CLOSE_DISTILLED = 2.0
"""The same where networks are distilled after: that brings accuracy back, but no speed."""


def channel(task: Task) -> Iterator[Pruned]:
    """Take one share of the channels out of every group."""
    most = task.options.share(WIDEST_RATIO, "channel")
    work = Narrowing(whole(task))
    if not work.groups:
        raise NothingToDoError(f"{task.source.path} has no channel that may leave")
    work.note_curves()
    for ratio in task.options.spread(most):
        widths = tuple(max(1, each.size - round(ratio * each.size)) for each in work.groups)
        chosen = work.search.reorder(widths, trials(task))
        rule = f"channel ratio={ratio:.4g} saliency={task.options.saliency}"
        yield work.prune(chosen.proposal, rule)


def network(task: Task) -> Iterator[Pruned]:
    """Spread one budget for the whole network where it hurts least."""
    budget = task.options.budget or DEFAULT_BUDGET
    works = _works(task)
    if not any(work.groups for work in works):
        raise NothingToDoError(f"{task.source.path} has no channel that may leave")
    works[0].note_curves()
    prices = _prices(works[0], budget.resource)
    speed = prices
    if len(works) > 1 and budget.resource is not Resource.LATENCY:
        speed = _prices(works[0], Resource.LATENCY)
    for lost in task.options.spread(1.0 - budget.share):
        level = Budget(budget.resource, 1.0 - lost)
        work, chosen = _choose(_meet(works, prices, level), speed)
        rule = f"network {level} saliency={task.options.saliency}"
        if work.base.blocks:
            rule += f" blocks={len(work.base.blocks)}"
        yield work.prune(chosen.proposal, rule)


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

    def ranking(self, group: ChannelGroup, order: int) -> Ranking:
        """Rank a group's channels in one of the ways that are tried."""
        if (group.key, order) not in self._rankings:
            self._rankings[group.key, order] = self._rank(group, self._orders[order])
        return self._rankings[group.key, order]

    @cached_property
    def curves(self) -> list[Curve]:
        """Say what each group loses at each width."""
        return [
            curve_of(group, self.ranking(group, 0), allowed_widths(group.size))
            for group in self.groups
        ]

    def note_curves(self) -> None:
        """Leave with the task what each group loses, for the report."""
        names = [group.name for group in self.groups]
        self.task.curves.update(zip(names, self.curves, strict=True))

    @cached_property
    def search(self) -> Search:
        """Look for the best of the networks that can be."""
        random = np.random.default_rng(self.task.options.seed)
        return Search(self.curves, len(self._orders), self._judge, random)

    def model(self, prices: Prices) -> SumModel:
        """Say what widths cost, in units of the original network's cost."""
        return SumModel(self.base.graph, self.base.channels, self.groups, prices)

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
        plan = self.plan(proposal, rule)
        after = self.base.fit(staying(plan, self.base.channels)).graph
        return Pruned(rule, plan, self.base.source, self.base.graph, after)

    def _judge(self, proposal: Proposal) -> float:
        samples = affordable_samples(self.task, FEWEST, WORK_MACS)
        stays = staying(self.plan(proposal, ""), self.base.channels)
        return self.base.divergence(stays, samples)

    @cached_property
    def _fisher(self) -> npt.NDArray[np.float64]:
        require_jax()
        from secateur_server.pruning.fisher import fisher_scores  # noqa: PLC0415 - needs JAX

        self.task.progress(0.0, "taking gradients")
        seed = self.task.options.seed
        return fisher_scores(self.base.graph, self.base.channels, self.task.feeds, seed)

    def _rank(self, group: ChannelGroup, saliency: Saliency) -> Ranking:
        self.task.progress(self.groups.index(group) / len(self.groups), f"ranking {group.name}")
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


def _works(task: Task) -> list[Narrowing]:
    """Begin with the network as it is and, where that can be tried, without a few blocks."""
    works = [Narrowing(whole(task))]
    blocks = find_blocks(task.graph)
    samples = affordable_samples(task, FEWEST, WORK_MACS)
    if len(blocks) * samples * total_macs(task.graph) > BLOCK_WORK_MACS:
        return works
    for base, divergence in shortened(task, samples):
        works.append(Narrowing(base, divergence))
        if len(works) > MOST_BLOCKS:
            break
    return works


def _prices(work: Narrowing, resource: Resource) -> Prices:
    if resource is not Resource.LATENCY:
        return prices_of(work.base.graph, resource)
    task = work.task
    return latency_prices(
        work.base.graph,
        work.base.channels,
        work.groups,
        work.curves,
        task.options.threads,
        lambda share: task.progress(share, "timing the operators"),
    )


@dataclass(frozen=True, slots=True)
class _Met:
    work: Narrowing
    found: Found


def _meet(works: Sequence[Narrowing], prices: Prices, level: Budget) -> list[_Met]:
    """Meet a budget from each base that can, and that is not too far off by itself."""
    met: list[_Met] = []
    least = []
    for work in works:
        closest = min((each.found.divergence for each in met), default=np.inf)
        if work.divergence > _as_close(work.task) * closest:
            continue
        count = FEW if work.base.blocks else trials(work.task)
        try:
            found = work.search.meet(work.model(prices), level.share, count)
        except UnreachableBudgetError as error:
            least.append(error.least)
        else:
            met.extend(_Met(work, each) for each in found)
    if not met:
        raise InputError(f"--budget {level} cannot be met: the narrowest is {min(least):.3f}")
    return met


def _as_close(task: Task) -> float:
    return AS_CLOSE_DISTILLED if task.options.is_distilled else AS_CLOSE


def _choose(met: Sequence[_Met], speed: Prices) -> tuple[Narrowing, Found]:
    """Take the fastest of those that are about as close as the closest."""
    as_close = _as_close(met[0].work.task)
    closest = min(each.found.divergence for each in met)
    close = [each for each in met if each.found.divergence <= as_close * closest] or list(met)

    def cost(each: _Met) -> float:
        widths: Widths = each.found.proposal.widths
        return each.work.model(speed).cost(widths)

    best = min(close, key=cost)
    return best.work, best.found
