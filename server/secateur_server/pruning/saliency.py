"""Which channels of a group to keep.

``obs`` removes one channel after the other, each time the one whose absence the consumers
can make up for best when their other weights adjust (structured Optimal Brain Surgeon);
``activation``, ``l1``, ``l2`` and ``random`` are there to compare with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

DAMPING = 1e-2
"""Added to the second moments' diagonal, times its mean: they may be singular."""

STRONG_DAMPING = 1e-1
"""The same where others are trusted less to make up for what leaves."""

ONE_BY_ONE = 64
"""Of so many channels one leaves at a time; of twice as many, two."""

CUT_SHARE = 0.25
"""Of a consumer's features: when more have left they are cut out."""

OTHER = -1
"""The channel of a feature that belongs to no channel of the group."""


class Saliency(StrEnum):
    """How channels are ranked."""

    OBS = "obs"
    OBS_DAMPED = "obs-damped"
    FISHER = "fisher"
    ACTIVATION = "activation"
    L1 = "l1"
    L2 = "l2"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Consumer:
    """One consumer of a group, as a linear map of its input features.

    Attributes:
        moments: Centred second moments of its input, [features, features], in any
            precision.
        weights: [features, outputs].
        channels: The group's channel of each feature, [features]; `OTHER`: none of it.
    """

    moments: npt.NDArray[np.floating]
    weights: Matrix
    channels: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Ranking:
    """In which order the channels of a group leave.

    Attributes:
        order: The least missed first.
        errors: What each removal adds to the error, in the same order: the share of its
            consumers' output that is lost.
    """

    order: tuple[int, ...]
    errors: tuple[float, ...]


def removal_order(
    size: int, consumers: Sequence[Consumer], count: int, damping: float = DAMPING
) -> Ranking:
    """Choose which channels leave, the least missed first.

    Channel c with features P costs tr(W_P' (inv(H)_PP)^-1 W_P), summed over the consumers,
    each relative to the energy of its output; removing it adjusts W and downdates inv(H).
    Of more than `ONE_BY_ONE` channels several leave before costs are computed anew.

    Args:
        size: Channels of the group.
        consumers: At least one.
        count: How many leave.
        damping: Added to the second moments' diagonal, times its mean.

    Source:
        Hassibi and Stork, "Second order derivatives for network pruning", NIPS 1992; for
        blocks: Kurtic et al., "ZipLM", NeurIPS 2023, arXiv:2302.04089, section 3.1.
    """
    states = [_Elimination(consumer, size, damping) for consumer in consumers]
    alive = np.ones(size, bool)
    order: list[int] = []
    errors: list[float] = []
    while len(order) < count:
        costs = sum((state.costs() for state in states), np.zeros(size))
        costs = np.where(alive, costs, np.inf)
        at_once = min(max(1, int(alive.sum()) // ONE_BY_ONE), count - len(order))
        leaving = np.argsort(costs, kind="stable")[:at_once]
        alive[leaving] = False
        order.extend(leaving.tolist())
        errors.extend(np.maximum(costs[leaving], 0.0).tolist())
        for state in states:
            state.remove(leaving)
    return Ranking(tuple(order), tuple(errors))


def rank_by(scores: npt.NDArray[np.floating]) -> Ranking:
    """Rank by a score each, the smallest first; of equals, the first.

    The errors are each score's share of all.
    """
    order = np.argsort(scores, kind="stable")
    total = max(float(scores.sum()), 1e-30)
    return Ranking(tuple(order.tolist()), tuple(float(scores[k]) / total for k in order))


def activation_scores(size: int, consumers: Sequence[Consumer]) -> Matrix:
    """Score each channel by what it adds to its consumers' outputs when nothing adjusts."""
    scores = np.zeros(size)
    for consumer in consumers:
        energy = np.diag(consumer.moments) * (consumer.weights**2).sum(axis=1)
        mine = consumer.channels != OTHER
        total = max(float(energy.sum()), 1e-30)  # an operator that only ever sees zeros
        scores += np.bincount(consumer.channels[mine], energy[mine], size) / total
    return scores


class _Elimination:
    """Weights and inverse second moments of one consumer while channels leave.

    What has left is cut out of both now and then: costs fall with what is still there.
    """

    def __init__(self, consumer: Consumer, size: int, damping: float) -> None:
        moments = consumer.moments.astype(np.float64)
        mean = max(float(np.trace(moments)) / len(moments), 1e-12)
        self._inverse = np.linalg.inv(moments + damping * mean * np.eye(len(moments)))
        self._weights = consumer.weights.copy()
        self._channels = consumer.channels.copy()
        self._size = size
        output = np.einsum("ij,ij->", self._weights, moments @ self._weights)
        self._energy = max(float(output), 1e-12)
        self._gone = np.zeros(len(moments), bool)
        self._index()

    def costs(self) -> Matrix:
        """Give the relative error that each channel's absence would add, [channels]."""
        costs = np.zeros(self._size)
        for channels, blocks in self._of_one_length:
            weights = self._weights[blocks]
            if blocks.shape[1] == 1:
                pivots = self._inverse[blocks[:, 0], blocks[:, 0]]
                found = (weights[:, 0] ** 2).sum(axis=1) / pivots
            else:
                inner = self._inverse[blocks[:, :, None], blocks[:, None, :]]
                found = np.einsum("cpo,cpo->c", weights, np.linalg.solve(inner, weights))
            costs[channels] = found / self._energy
        return costs

    def remove(self, channels: npt.NDArray[np.intp]) -> None:
        """Take channels out and let the others make up for them."""
        block = np.flatnonzero(np.isin(self._channels, channels) & ~self._gone)
        if not len(block):
            return
        columns = self._inverse[:, block]
        solved = np.linalg.inv(self._inverse[np.ix_(block, block)])
        self._weights -= columns @ (solved @ self._weights[block])
        self._inverse -= columns @ (solved @ columns.T)
        self._gone[block] = True
        if self._gone.mean() > CUT_SHARE:
            stays = np.flatnonzero(~self._gone)
            self._inverse = np.ascontiguousarray(self._inverse[np.ix_(stays, stays)])
            self._weights = np.ascontiguousarray(self._weights[stays])
            self._channels, self._gone = self._channels[stays], self._gone[stays]
        self._index()

    def _index(self) -> None:
        """Bring together the channels that stand at equally many features here."""
        alive = np.where(self._gone, OTHER, self._channels)
        order = np.argsort(alive, kind="stable")
        found, starts, counts = np.unique(alive[order], return_index=True, return_counts=True)
        self._of_one_length = []
        for length in np.unique(counts[found != OTHER]).tolist():
            mine = np.flatnonzero((counts == length) & (found != OTHER))
            blocks = order[starts[mine][:, None] + np.arange(length)]
            self._of_one_length.append((found[mine], blocks))
