"""What channels are taken out of: the network as it is, or already without some blocks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from secateur_server.pruning.blocks import Block, find_blocks, without
from secateur_server.pruning.channels import Channels, find_channels
from secateur_server.pruning.cost import total_macs
from secateur_server.pruning.divergence import divergence
from secateur_server.pruning.flatbuffer import Source
from secateur_server.pruning.graph import Graph, read_graph
from secateur_server.pruning.narrowing import Stays, everything
from secateur_server.pruning.plan import BlockPlan
from secateur_server.pruning.reconstruction import Reconstructed, reconstruct
from secateur_server.pruning.rules import RULES
from secateur_server.pruning.task import Task
from secateur_server.pruning.teacher import Teacher, listen

TRIED_SAMPLES = 256
"""Most samples that a network is tried on."""

FEWEST_SAMPLES = 96
"""Fewer tell nothing, however large the network is."""

FITTED_SHARE = 0.75
"""Share of these that it is fitted to. All of them judge it: far more positions are fitted
to than there are weights, and few samples judge badly."""

PASSES = 3
"""How often the fit of a network that is kept is repeated for what activations let through."""

TRIED_AGAIN = 4
"""After each block so many of the next best are tried anew: they may have mattered less
while it was there."""


@dataclass(frozen=True)
class Base:
    """A network without some blocks, to be narrowed and fitted to the original.

    Attributes:
        blocks: Those that are out.
    """

    task: Task
    source: Source
    graph: Graph
    blocks: tuple[Block, ...] = ()

    @cached_property
    def channels(self) -> Channels:
        """Say which channels must go together."""
        return find_channels(self.graph, RULES) if self.blocks else self.task.channels

    @cached_property
    def seen(self) -> Teacher:
        """Tell what this network's operators see once it is fitted, for ranking channels."""
        if not self.blocks:
            return self.task.teacher
        fitted = self.fit(everything(self.channels)).graph
        return listen(fitted, self.channels, self.task.teacher.feeds, lambda _share: None)

    def fit(
        self,
        stays: Stays,
        samples: int | None = None,
        fitted_to: int | None = None,
        passes: int = PASSES,
    ) -> Reconstructed:
        """Narrow this network and fit it to the original."""
        return reconstruct(
            self.graph,
            self.channels,
            stays,
            self.task.teacher,
            samples=samples,
            fitted_to=fitted_to,
            changed=[block.enters for block in self.blocks],
            passes=passes,
        )

    def divergence(self, stays: Stays, samples: int) -> float:
        """Fit to a part of so many samples, and judge by all of them."""
        teacher = self.task.teacher
        samples = min(samples, teacher.samples)
        fitted_to = max(1, round(FITTED_SHARE * samples))
        found = self.fit(stays, samples, fitted_to, passes=0)
        part = slice(0, samples)
        return divergence(self.task.graph, teacher.outputs, found.outputs, part)

    def block_plans(self) -> tuple[BlockPlan, ...]:
        """Write down what is out."""
        return tuple(
            BlockPlan(
                enters=each.enters,
                leaves=each.leaves,
                name=self.task.graph.tensors[each.leaves].name,
                operators=each.operators,
            )
            for each in self.blocks
        )


def whole(task: Task) -> Base:
    """Take nothing out."""
    return Base(task, task.source, task.graph)


def shorten(task: Task, blocks: Sequence[Block]) -> Base:
    """Take blocks out, in this order."""
    source = without(task.source, blocks)
    return Base(task, source, read_graph(source.tree()), tuple(blocks))


def shortened(task: Task, samples: int) -> Iterator[tuple[Base, float]]:
    """Take out one block after the other, the least missed first, given those before it.

    Args:
        task: The network.
        samples: On how many a network is tried.

    Yields:
        The network without one block more, and how far it diverges.
    """
    gone: list[Block] = []
    tried = {
        block: _tried(task, [block], samples) for block in _each(task, find_blocks(task.graph))
    }
    while tried:
        for block in sorted(tried, key=lambda each: tried[each][1])[:TRIED_AGAIN] * bool(gone):
            tried[block] = _tried(task, [*gone, block], samples)
        block = min(tried, key=lambda each: tried[each][1])
        gone.append(block)
        yield tried[block]
        tried = {
            _behind(each, block): found
            for each, found in tried.items()
            if not set(block.operators) & set(each.operators)
        }


def _each(task: Task, blocks: Sequence[Block]) -> Iterable[Block]:
    for done, block in enumerate(blocks):
        task.progress(done / len(blocks), "trying to do without a block")
        yield block


def _tried(task: Task, blocks: Sequence[Block], samples: int) -> tuple[Base, float]:
    base = shorten(task, blocks)
    return base, base.divergence(everything(base.channels), samples)


def _behind(block: Block, gone: Block) -> Block:
    """Let a block begin where the one before it began."""
    return replace(block, enters=gone.enters) if block.enters == gone.leaves else block


def affordable_samples(task: Task, networks: int, work_macs: float) -> int:
    """Say on how many samples so many networks can be tried with some work."""
    each = work_macs / max(networks, 1) / max(total_macs(task.graph), 1)
    return int(np.clip(each, FEWEST_SAMPLES, min(TRIED_SAMPLES, task.teacher.samples)))
