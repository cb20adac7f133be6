"""Which weights become zero: by a threshold, or the least missed up to a sparsity.

Magnitude counts, never the sign. In every tensor at least one weight stays: a tensor of
zeros would silence the network.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import numpy as np

from secateur_server.pruning.graph import Array
from secateur_server.pruning.weight.layer import Layer
from secateur_server.pruning.weight.masked import Keep, Matrix

Scores = Mapping[int, Matrix]
"""By operator index, in the shape of its weights: what is missed least has the smallest."""

ALL_BELOW = "every weight is below the threshold: left as it is"


class Scope(StrEnum):
    """Among which weights a sparsity is shared out."""

    LAYER = "layer"
    """The same share in every tensor."""
    NETWORK = "network"
    """The share is of all weights together; where they are missed least more leave."""


def above(layer: Layer, threshold: float) -> tuple[Keep, str]:
    """Let the weights of a magnitude of at least ``threshold`` stay.

    Returns:
        Which stay, and why all of them do if no other would have been left.
    """
    keep: Keep = np.abs(layer.weights) >= threshold
    if keep.any():
        return keep, ""
    return np.ones_like(keep), ALL_BELOW


def relative_threshold(layer: Layer, share: float) -> float:
    """Give a share of the largest magnitude of a tensor."""
    return share * float(np.abs(layer.weights).max())


def least_missed(scores: Scores, sparsity: float, scope: Scope) -> dict[int, Keep]:
    """Choose exactly the asked share of weights, those with the smallest scores.

    Of equal scores the ones that are stored first leave.

    Args:
        scores: Of all weights. For `Scope.NETWORK` comparable between tensors.
        sparsity: Share of the weights that become zero, above 0 and below 1.
        scope: Of each tensor, or of all together.
    """
    if scope is Scope.LAYER or not scores:
        return {key: _least({key: each}, sparsity)[key] for key, each in scores.items()}
    return _least(scores, sparsity)


def _least(scores: Scores, sparsity: float) -> dict[int, Keep]:
    flat = [each.ravel().astype(np.float64) for each in scores.values()]
    for each in flat:
        each[len(each) - 1 - each[::-1].argmax()] = np.inf  # the largest, the last of equals
    joined = np.concatenate(flat)
    count = min(round(sparsity * joined.size), joined.size - len(flat))
    keep = np.ones(joined.size, np.bool_)
    keep[np.argsort(joined, kind="stable")[:count]] = False
    parts = np.split(keep, np.cumsum([each.size for each in flat])[:-1])
    return {
        key: part.reshape(each.shape)
        for (key, each), part in zip(scores.items(), parts, strict=True)
    }


def magnitude_scores(layers: Iterable[Layer], scope: Scope) -> dict[int, Matrix]:
    """Score weights by magnitude, comparable over the whole network for that scope."""
    score = _lamp if scope is Scope.NETWORK else np.abs
    return {each.operator.index: score(each.weights) for each in layers}


def _lamp(weights: Array) -> Matrix:
    """Divide each squared weight by the sum of those that are no smaller in its tensor.

    Magnitudes alone would wipe out tensors that are small by their scale, not by their
    importance: first layers on pixels of 0 to 255, depthwise ones.

    Source:
        Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021,
        arXiv:2010.07611, equation 3.
    """
    squares = weights.astype(np.float64).ravel() ** 2
    order = np.argsort(squares, kind="stable")
    no_smaller = np.cumsum(squares[order][::-1])[::-1]
    scores = np.zeros_like(squares)
    scores[order] = squares[order] / np.maximum(no_smaller, 1e-300)
    return scores.reshape(weights.shape)
