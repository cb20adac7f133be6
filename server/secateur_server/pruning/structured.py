"""Structured methods: channels leave, evenly or where it hurts least under a budget."""

from collections.abc import Iterator
from dataclasses import replace

from secateur_server.errors import InputError, NothingToDoError
from secateur_server.pruning.allocation import Widths
from secateur_server.pruning.bases import whole
from secateur_server.pruning.budget import Budget, Prices, Resource
from secateur_server.pruning.latency import latency_prices
from secateur_server.pruning.meeting import (
    Met,
    OutOfReachError,
    answered_alike,
    choose,
    find_prices,
    find_works,
    measured_share,
    meet,
    spending,
)
from secateur_server.pruning.task import Pruned, Task
from secateur_server.pruning.work import Narrowing, trials

WIDEST_RATIO = 0.75
"""Share of its channels that a group loses at the narrowest level, where no ratio is asked
for."""

DEFAULT_BUDGET = Budget(Resource.MACS, 0.25)
"""Of the narrowest level, where no budget is asked for: multiply-accumulates are the same
on every engine."""

SLOWER = 1.05
"""A network, or the operators around a group, that take more than so many times as long as
before are slower for being narrow; less is noise."""

LEAST_AGREEMENT = 0.7
"""Share of the calibration samples that a network under a budget of latency must still
answer as the dense one does; for other than classifiers, of the variance. One that does not
is handed out for no speed."""

RETREATS = 5
"""So many larger budgets are tried, evenly up to the whole, where a budget asks too much."""


def channel(task: Task) -> Iterator[Pruned]:
    """Take one share of the channels out of every group.

    Where the engine is slower with so many channels, groups that cause it stay whole; where
    all do, they become narrow as asked, for the sake of bytes and memory.
    """
    most = task.options.share(WIDEST_RATIO, "channel")
    work = Narrowing(whole(task))
    if not work.groups:
        raise NothingToDoError(f"{task.source.path} has no channel that may leave")
    work.note_curves()
    for ratio in task.options.spread(most):
        rule = f"channel ratio={ratio:.4g} saliency={task.options.saliency}"
        widths = tuple(max(1, each.size - round(ratio * each.size)) for each in work.groups)
        wider, kept = _not_slower(work, widths, 1.0 - ratio)
        if kept == len(widths):
            task.left_out[f"{rule} in less time"] = (
                "this engine is slower with so many channels in every group than with all; "
                "given instead: what is smaller, not faster"
            )
        elif kept:
            widths, rule = wider, f"{rule} whole={kept}"
            task.left_out[rule] = (
                f"{kept} of {len(widths)} groups stay whole: this engine is slower with so "
                "many of their channels than with all"
            )
        yield work.prune(work.search.reorder(widths, trials(task)).proposal, rule)


def _not_slower(work: Narrowing, widths: Widths, share: float) -> tuple[Widths, int]:
    """Where the network becomes slower, leave groups whole that do; say how many."""
    task = work.task
    if (measured_share(work, widths) or 0.0) <= SLOWER:
        return widths, 0
    prices = latency_prices(
        work.base.graph,
        work.base.channels,
        work.groups,
        task.options.threads,
        lambda done: task.progress(done, "timing the operators"),
        shares=(share, 1.0),
    )
    model, kept = work.model(prices), 0
    for k, group in enumerate(work.groups):
        wider = (*widths[:k], group.size, *widths[k + 1 :])
        if model.cost_around(k, widths) > SLOWER * model.cost_around(k, wider):
            widths, kept = wider, kept + 1
    return widths, kept


def network(task: Task) -> Iterator[Pruned]:
    """Spread one budget for the whole network where it hurts least."""
    budget = task.options.budget or DEFAULT_BUDGET
    works = find_works(task, budget.resource)
    if not any(work.groups for work in works):
        raise NothingToDoError(f"{task.source.path} has no channel that may leave")
    works[0].note_curves()
    prices = find_prices(works, budget.resource)
    speed = prices if budget.resource is Resource.LATENCY else None
    if speed is None and task.options.is_distilled:
        speed = find_prices(works, Resource.LATENCY)
    for lost in task.options.spread(1.0 - budget.share):
        level = Budget(budget.resource, 1.0 - lost)
        if level.resource is Resource.LATENCY:
            yield from _in_time(works, prices, level)
            continue
        try:
            met = meet(works, prices, level)
            chosen = choose(met if speed is None else spending(met, prices, level), speed)
        except OutOfReachError as error:
            raise InputError(f"--budget {level} cannot be met: {error}") from error
        yield chosen.work.prune(chosen.found.proposal, _rule(task, level, chosen))


def _in_time(works: list[Narrowing], prices: Prices, level: Budget) -> Iterator[Pruned]:
    """Meet a budget of latency, or come as near as a network of use can, and say so."""
    task, why = works[0].task, ""
    for step in range(RETREATS):
        asked = replace(level, share=level.share + (1.0 - level.share) * step / RETREATS)
        try:
            chosen = choose(meet(works, prices, asked), prices)
        except OutOfReachError as error:
            why = why or f"{error} of the time on this engine"
            continue
        alike = answered_alike(chosen.work, chosen.found.proposal)
        if alike < LEAST_AGREEMENT and not task.options.is_distilled:
            why = why or (
                f"the closest network so fast is only {alike:.0%} like the dense one, by its "
                "answers to calibration samples that were held back"
            )
            continue
        if why:
            measured = measured_share(chosen.work, chosen.found.proposal.widths)
            found = "unknown" if measured is None else f"{measured:.2f}"
            task.left_out[f"network {level}"] = f"{why}; given instead: one at {found}"
        yield chosen.work.prune(chosen.found.proposal, _rule(task, asked, chosen))
        return
    task.left_out[f"network {level}"] = f"{why}; no larger budget gave one of use"


def _rule(task: Task, level: Budget, chosen: Met) -> str:
    blocks = len(chosen.work.base.blocks)
    rule = f"network {level} saliency={task.options.saliency}"
    return f"{rule} blocks={blocks}" if blocks else rule
