"""From real weights to the codes of a quantized tensor, each code seeing the others' errors."""

import numpy as np

from secateur_server.pruning.weight.masked import Keep, Matrix, Problem

SWEEPS = 4
"""Times that every code is chosen again; little changes after the third."""

BLOCK = 64
"""Features between two updates of the whole gradient."""


def round_to_codes(
    problem: Problem, fitted: Matrix, keep: Keep, scale: Matrix, limits: tuple[Matrix, Matrix]
) -> Matrix:
    """Choose codes for weights so that a least squares problem suffers little.

    Coordinate descent: one feature after the other gets its best code given all others, in
    all outputs at a time. No step raises the error.

    Args:
        problem: What the weights are to solve.
        fitted: Real weights to begin from, [features, outputs].
        keep: Those that are not zero, [features, outputs].
        scale: What a step of the code is worth, [features, outputs].
        limits: The least and the greatest weight that can be coded, likewise.

    Returns:
        Weights on the grid of the codes, [features, outputs].

    Source:
        Behdin et al., "QuantEase", arXiv:2309.01885, section 3.
    """
    low, high = limits
    weights = np.where(keep, _snap(fitted, scale, low, high), 0.0)
    diagonal = np.broadcast_to(np.maximum(problem.diagonal(), 1e-30), weights.shape)
    for _ in range(SWEEPS):
        gradient = problem.times(weights) - problem.xy
        before = weights.copy()
        for first in range(0, len(weights), BLOCK):
            block = slice(first, first + BLOCK)
            change = np.zeros_like(weights[block])
            for at in range(first, min(first + BLOCK, len(weights))):
                here = gradient[at] + problem.influence(at, block, change)
                wanted = weights[at] - here / diagonal[at]
                best = np.where(keep[at], _snap(wanted, scale[at], low[at], high[at]), 0.0)
                change[at - first] = best - weights[at]
                weights[at] = best
            gradient += problem.spread(block, change)
        if np.array_equal(weights, before):
            break
    return weights


def _snap(reals: Matrix, scale: Matrix, low: Matrix, high: Matrix) -> Matrix:
    """Give the nearest weights that have a code."""
    return np.asarray((np.rint(reals / scale) * scale).clip(low, high))
