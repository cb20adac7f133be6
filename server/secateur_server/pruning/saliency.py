"""Which channels of a group to keep.

``obs`` removes one channel after the other, each time the one whose absence the consumers
can make up for best when their other weights adjust (structured Optimal Brain Surgeon);
``l1`` and ``random`` are there to compare with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.graph import Graph
from secateur_server.pruning.groups import ChannelGroup

Matrix = npt.NDArray[np.float64]

DAMPING = 1e-2
"""Added to the second moments' diagonal, times its mean: they may be singular."""


class Saliency(StrEnum):
    """How channels are ranked."""

    OBS = "obs"
    L1 = "l1"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Consumer:
    """One consumer of a group, as a linear map of its input features.

    Attributes:
        moments: Centred second moments of its input, [features, features].
        weights: [features, outputs].
        channels: The group's channel of each feature.
    """

    moments: Matrix
    weights: Matrix
    channels: npt.NDArray[np.intp]


def removal_order(size: int, consumers: Sequence[Consumer], count: int) -> list[int]:
    """Choose which channels leave, the least missed first.

    Channel c with features P costs tr(W_P' (inv(H)_PP)^-1 W_P), summed over the consumers,
    each relative to the energy of its output; removing it adjusts W and downdates inv(H).

    Args:
        size: Channels of the group.
        consumers: At least one.
        count: How many leave.

    Source:
        Hassibi and Stork, "Second order derivatives for network pruning", NIPS 1992; for
        blocks: Kurtic et al., "ZipLM", NeurIPS 2023, arXiv:2302.04089, section 3.1.
    """
    states = [_Elimination(consumer, size) for consumer in consumers]
    alive = np.ones(size, bool)
    order: list[int] = []
    for _ in range(count):
        costs = sum((state.costs() for state in states), np.zeros(size))
        channel = int(np.argmin(np.where(alive, costs, np.inf)))
        alive[channel] = False
        order.append(channel)
        for state in states:
            state.remove(channel)
    return order


class _Elimination:
    """Weights and inverse second moments of one consumer while channels leave."""

    def __init__(self, consumer: Consumer, size: int) -> None:
        moments = consumer.moments
        mean = max(float(np.trace(moments)) / len(moments), 1e-12)
        self._inverse = np.linalg.inv(moments + DAMPING * mean * np.eye(len(moments)))
        self._weights = consumer.weights.copy()
        self._blocks = np.array(
            [np.flatnonzero(consumer.channels == channel) for channel in range(size)]
        )
        output = np.einsum("ij,ik,kj->", self._weights, moments, self._weights, optimize=True)
        self._energy = max(float(output), 1e-12)
        self._gone: list[int] = []

    def costs(self) -> Matrix:
        """Give the relative error that each channel's absence would add, [channels]."""
        blocks = self._blocks
        inner = self._inverse[blocks[:, :, None], blocks[:, None, :]].copy()
        inner[self._gone] = np.eye(blocks.shape[1])
        weights = self._weights[blocks]
        solved = np.linalg.solve(inner, weights)
        costs: Matrix = np.einsum("cpo,cpo->c", weights, solved) / self._energy
        return costs

    def remove(self, channel: int) -> None:
        """Take a channel out and let the others make up for it."""
        block = self._blocks[channel]
        columns = self._inverse[:, block]
        solved = np.linalg.inv(self._inverse[np.ix_(block, block)])
        self._weights -= columns @ (solved @ self._weights[block])
        self._inverse -= columns @ solved @ columns.T
        self._weights[block] = 0.0
        self._gone.append(channel)


def l1_order(graph: Graph, group: ChannelGroup) -> list[int]:
    """Rank by the sum of the producers' magnitudes, the smallest first.

    Source:
        Li et al., "Pruning Filters for Efficient ConvNets", arXiv:1608.08710, section 3.1.
    """
    total = np.zeros(group.size)
    for index in group.producers:
        operator = graph.operators[index]
        weights = graph.weights(operator)
        if operator.kind == "DEPTHWISE_CONV_2D":
            scores = np.abs(weights).sum(axis=(0, 1, 2)).reshape(group.size, -1).sum(axis=1)
        else:
            scores = np.abs(weights).reshape(len(weights), -1).sum(axis=1)
        total += scores / max(float(scores.mean()), 1e-12)
    return [int(channel) for channel in np.argsort(total, kind="stable")]


def random_order(size: int, seed: int) -> list[int]:
    """Rank by chance, the same for the same seed."""
    return [int(channel) for channel in np.random.default_rng(seed).permutation(size)]
