"""Budgets met: from which network, at which widths, and how fast that really is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from secateur_server.pruning.allocation import UnreachableBudgetError
from secateur_server.pruning.apply import apply
from secateur_server.pruning.bases import (
    FEWEST_SAMPLES,
    FITTED_SHARE,
    TRIED_SAMPLES,
    affordable_samples,
    shortened,
    whole,
)
from secateur_server.pruning.blocks import find_blocks
from secateur_server.pruning.budget import Budget, Prices, Resource, prices_of
from secateur_server.pruning.cost import total_macs
from secateur_server.pruning.divergence import agreement, answers
from secateur_server.pruning.flatbuffer import write_model
from secateur_server.pruning.latency import latency_prices, time_models
from secateur_server.pruning.measurement import load, outputs
from secateur_server.pruning.narrowing import Stays, everything, narrow
from secateur_server.pruning.samples import Samples
from secateur_server.pruning.search import Found, Proposal
from secateur_server.pruning.task import Task
from secateur_server.pruning.work import FEWEST, WORK_MACS, Narrowing, trials

FEW = 3
"""Networks tried per level for each base that lacks blocks."""

MOST_BLOCKS, MOST_BLOCKS_FOR_LATENCY = 3, 8
"""Blocks that a network under a budget may lose at most. Time often falls in no other way:
engines compute a few channels as fast as none."""

BLOCK_WORK_MACS = 1e11
"""Multiply-accumulates that trying blocks may take; networks that need more keep theirs."""

AS_CLOSE = 1.1
"""Networks that diverge at most so many times as far as the closest one are about as close:
under a budget of latency the fastest of them is taken."""

AS_CLOSE_DISTILLED = 2.0
"""The same where networks are distilled after, under any budget: that brings accuracy back,
but no speed."""

LEAST_SPENT = 0.8
"""Of a budget of MACs or bytes: one that is met with less has taken more out than was asked,
which distilling has to bring back."""

AS_FAST = 1.02
"""Networks that take at most so many times as long are as fast; the closest is taken."""

MOST_FIXED = 0.9
"""Of a network's time: if more of it seems not to fall with any width, it was mismeasured."""

AGAIN, AGAIN_SAMPLES, AGAIN_WORK_MACS = 4, 1024, 1e11
"""So many networks are judged again, on so many samples, if that takes no more work."""

WHOLE_ROUNDS = 20
"""Of timing whole networks in turns; the fastest counts."""


def find_works(task: Task, resource: Resource) -> list[Narrowing]:
    """Begin with the network as it is and, where that can be tried, without a few blocks."""
    works = [Narrowing(whole(task))]
    blocks = find_blocks(task.graph)
    samples = affordable_samples(task, FEWEST, WORK_MACS)
    if len(blocks) * samples * total_macs(task.graph) > BLOCK_WORK_MACS:
        return works
    most = MOST_BLOCKS_FOR_LATENCY if resource is Resource.LATENCY else MOST_BLOCKS
    for base, divergence in shortened(task, samples):
        works.append(Narrowing(base, divergence))
        if len(works) > most:
            break
    return works


def find_prices(works: Sequence[Narrowing], resource: Resource) -> Prices:
    """Price the operators of the whole network.

    What operators take alone is brought in line with what whole networks take, dense and
    with half of all channels: calling them, and the caches, cost something too.
    """
    work = works[0]
    if resource is not Resource.LATENCY:
        return prices_of(work.base.graph, resource)
    task = work.task
    prices = latency_prices(
        work.base.graph,
        work.base.channels,
        work.groups,
        task.options.threads,
        lambda share: task.progress(share, "timing the operators"),
    )
    half = tuple(max(1, group.size // 2) for group in work.groups)
    found, expected = measured_share(work, half), work.model(prices).cost(half)
    if expected >= 1.0 or found is None:
        return prices
    slope = min(max((1.0 - found) / (1.0 - expected), 0.0), 1.0)
    return replace(prices, fixed=min(1.0 - slope, MOST_FIXED))


def measured_share(work: Narrowing, widths: Sequence[int]) -> float | None:
    """Time a whole network at some widths, in turns with the original.

    The weights' values do not matter to the engine; which channels leave does where not all
    operators have all of a group.

    Returns:
        Its time in units of the original's; ``None``: it could not be measured.
    """
    stays = everything(work.base.channels)
    for group, width in zip(work.groups, widths, strict=True):
        leaving = work.ranking(group, 0).order[: group.size - width]
        stays[group.channels[list(leaving)]] = False
    models = [work.task.source.content, _written(work, stays)]
    dense, narrowed = time_models(models, work.task.options.threads, WHOLE_ROUNDS)
    return float(narrowed / dense) if dense else None


def _written(work: Narrowing, stays: Stays) -> bytes:
    base = work.base
    tree = base.source.tree()
    apply(tree, base.graph, narrow(base.graph, base.channels, stays))
    return write_model(tree)


def answered_alike(work: Narrowing, proposal: Proposal) -> float:
    """Fit a network to some samples, and compare its answers on others with the original's.

    It is run as it is stored, in the engine, with all rounding: a quantized network is
    fitted in real numbers. A network that is handed out is fitted to all samples, so it is
    no worse than this one.

    Returns:
        The `agreement` on calibration samples that were held back from the fit.
    """
    task = work.task
    affordable = int(AGAIN_WORK_MACS // max(total_macs(task.graph), 1))
    count = min(max(affordable, FEWEST_SAMPLES), AGAIN_SAMPLES, task.teacher.samples)
    fitted_to = max(1, round(FITTED_SHARE * count))
    held_back = slice(fitted_to, count) if fitted_to < count else slice(0, count)
    fitted = work.fit(proposal, samples=count, fitted_to=fitted_to)
    tree = work.base.source.tree()
    apply(tree, work.base.graph, fitted)
    samples = Samples(tuple(task.teacher.feeds[k][held_back] for k in task.graph.inputs), None)
    wanted, found = (
        outputs(load(content, task.options.threads), samples)
        for content in (task.source.content, write_model(tree))
    )
    return agreement(answers(task.graph), wanted, found)


@dataclass(frozen=True, slots=True)
class Met:
    """A network that meets a budget, and the base that it is narrowed from."""

    work: Narrowing
    found: Found


class OutOfReachError(Exception):
    """No network meets the budget.

    Attributes:
        least: The share that the cheapest one takes.
    """

    def __init__(self, least: float) -> None:
        super().__init__(f"the cheapest network takes {least:.3f}")
        self.least = least


def meet(works: Sequence[Narrowing], prices: Prices, level: Budget) -> list[Met]:
    """Meet a budget from each base that can, and that is not too far off by itself.

    Raises:
        OutOfReachError: None can.
    """
    met: list[Met] = []
    least = []
    for work in works:
        closest = min((each.found.divergence for each in met), default=np.inf)
        if work.divergence > _as_close(work.task) * closest:
            continue
        count = FEW if work.base.blocks else trials(work.task)
        try:
            found = work.search_by(prices, level.resource).meet(
                work.model(prices), level.share, count
            )
        except UnreachableBudgetError as error:
            least.append(error.least)
        else:
            met.extend(Met(work, each) for each in found)
    if not met:
        raise OutOfReachError(min(least))
    return met


def choose(met: Sequence[Met], speed: Prices | None) -> Met:
    """Take the closest, or where speed counts the fastest of those about as close.

    Of those about as fast, the closest.

    Args:
        met: Networks that meet the budget.
        speed: What the operators take. ``None``: it does not count.
    """
    as_close = _as_close(met[0].work.task)
    closest = min(each.found.divergence for each in met)
    close = [each for each in met if each.found.divergence <= as_close * closest] or list(met)
    close = _judged_again(close)
    if speed is None:
        return min(close, key=lambda each: each.found.divergence)
    costs = [each.work.model(speed).cost(each.found.proposal.widths) for each in close]
    fast = [
        each for each, cost in zip(close, costs, strict=True) if cost <= AS_FAST * min(costs)
    ]
    return min(fast, key=lambda each: each.found.divergence)


def spending(met: Sequence[Met], prices: Prices, level: Budget) -> list[Met]:
    """Leave out what uses far less of a budget than it may, where something else is left."""
    least = LEAST_SPENT * level.share
    found = [
        each
        for each in met
        if each.work.model(prices).cost(each.found.proposal.widths) >= least
    ]
    return found or list(met)


def _judged_again(met: Sequence[Met]) -> list[Met]:
    """Judge the closest few on more samples, where there are many more and that is quick."""
    task = met[0].work.task
    samples = min(AGAIN_SAMPLES, task.teacher.samples)
    work = AGAIN * samples * total_macs(task.graph)
    if len(met) == 1 or samples <= 2 * TRIED_SAMPLES or work > AGAIN_WORK_MACS:
        return list(met)
    closest = sorted(met, key=lambda each: each.found.divergence)[:AGAIN]
    found = []
    for each in closest:
        divergence = each.work.judge(each.found.proposal, samples)
        found.append(replace(each, found=replace(each.found, divergence=divergence)))
    return found


def _as_close(task: Task) -> float:
    return AS_CLOSE_DISTILLED if task.options.is_distilled else AS_CLOSE
