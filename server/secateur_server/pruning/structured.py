"""Structured methods: channels leave, evenly or where it hurts least under a budget."""

from collections.abc import Iterator, Sequence

from secateur_server.errors import InputError, NothingToDoError
from secateur_server.pruning.allocation import (
    CostModel,
    UnreachableBudgetError,
    allowed_widths,
    curve_of,
)
from secateur_server.pruning.budget import (
    Budget,
    Prices,
    Resource,
    SumModel,
    bytes_prices,
    macs_prices,
)
from secateur_server.pruning.channels import ChannelGroup
from secateur_server.pruning.latency import latency_prices
from secateur_server.pruning.plan import ChannelPlan, plan_channels, staying
from secateur_server.pruning.reconstruction import reconstruct
from secateur_server.pruning.saliency import Ranking, Saliency
from secateur_server.pruning.search import Proposal, Search, judge_of, trials
from secateur_server.pruning.selection import free_groups, rank_group
from secateur_server.pruning.task import Pruned, Task

WIDEST_RATIO = 0.75
"""Share of its channels that a group loses at the narrowest level, where no ratio is asked
for."""

DEFAULT_BUDGET = Budget(Resource.MACS, 0.25)
"""Of the narrowest level, where no budget is asked for: multiply-accumulates are the same
on every engine."""


def channel(task: Task) -> Iterator[Pruned]:
    """Take one share of the channels out of every group."""
    most = task.options.share(WIDEST_RATIO, "channel")
    work = _Work(task)
    search = work.search(task)
    for ratio in task.options.spread(most):
        widths = tuple(max(1, each.size - round(ratio * each.size)) for each in work.groups)
        chosen = search.reorder(widths, trials(task))
        yield work.prune(chosen, f"channel ratio={ratio:.4g} saliency={task.options.saliency}")


def network(task: Task) -> Iterator[Pruned]:
    """Spread one budget for the whole network where it hurts least."""
    work = _Work(task)
    search = work.search(task)
    budget = task.options.budget or DEFAULT_BUDGET
    model = work.cost_model(budget.resource)
    for lost in task.options.spread(1.0 - budget.share):
        level = Budget(budget.resource, 1.0 - lost)
        try:
            chosen = search.meet(model, level.share, trials(task))
        except UnreachableBudgetError as error:
            raise InputError(f"--budget {level} cannot be met: {error}") from error
        yield work.prune(chosen, f"network {level} saliency={task.options.saliency}")


class _Work:
    """What all levels of one ladder share."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.groups = free_groups(task.graph, task.channels)
        if not self.groups:
            raise NothingToDoError(f"{task.source.path} has no channel that may leave")
        self.rankings = [self._rank(word) for word in _orders(task.options.saliency)]
        self.curves = [
            curve_of(group, self.rankings[0][group.key], allowed_widths(group.size))
            for group in self.groups
        ]

    def search(self, task: Task) -> Search:
        """Begin to look for the best of the networks that can be."""
        judge = judge_of(task, lambda each: staying(self.plan(each, ""), task.channels))
        return Search(self.curves, len(self.rankings), judge, task.random)

    def cost_model(self, resource: Resource) -> CostModel:
        """Say what widths cost of a resource."""
        graph, channels = self.task.graph, self.task.channels
        if resource is Resource.MACS:
            prices = macs_prices(graph)
        elif resource is Resource.BYTES:
            prices = bytes_prices(graph)
        else:
            prices = self._latency_prices()
        return SumModel(graph, channels, self.groups, prices)

    def _latency_prices(self) -> Prices:
        task = self.task
        return latency_prices(
            task.graph,
            task.channels,
            self.groups,
            self.curves,
            task.options.threads,
            lambda share: task.progress(share, "timing the operators"),
        )

    def plan(self, proposal: Proposal, rule: str) -> ChannelPlan:
        """Write a proposal down."""
        leaving = {
            group.key: group.size - width
            for group, width in zip(self.groups, proposal.widths, strict=True)
        }
        rankings = {
            group.key: self.rankings[order][group.key]
            for group, order in zip(self.groups, proposal.orders, strict=True)
        }
        return plan_channels(self.groups, rankings, leaving, rule)

    def prune(self, proposal: Proposal, rule: str) -> Pruned:
        """Carry a proposal out with all samples."""
        task, plan = self.task, self.plan(proposal, rule)
        stays = staying(plan, task.channels)
        after = reconstruct(task.graph, task.channels, stays, task.teacher).graph
        return Pruned(rule, plan, task.source, task.graph, after)

    def _rank(self, saliency: Saliency) -> dict[int, Ranking]:
        return {group.key: self._rank_one(group, saliency) for group in self.groups}

    def _rank_one(self, group: ChannelGroup, saliency: Saliency) -> Ranking:
        task = self.task
        task.progress(self.groups.index(group) / len(self.groups), f"ranking {group.name}")
        return rank_group(
            task.graph,
            task.channels,
            group,
            task.teacher.moments,
            saliency,
            seed=task.options.seed,
        )


def _orders(saliency: Saliency) -> Sequence[Saliency]:
    """Say which rankings the search may take besides the one asked for."""
    if saliency is Saliency.OBS:
        return (Saliency.OBS, Saliency.OBS_DAMPED, Saliency.ACTIVATION)
    return (saliency,)
