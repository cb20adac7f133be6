"""Which weights are missed least: optimal brain surgeon, output by output.

Source:
    Frantar and Alistarh, "Optimal Brain Compression", NeurIPS 2022, arXiv:2208.11580,
    algorithm 1, with several weights at a step where it has one; after Hassibi and Stork,
    "Second order derivatives for network pruning", NIPS 1992.
"""

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.weight.masked import Matrix

DAMPING = 1e-2
"""Added to the Gram matrix, times the mean of its diagonal."""

CHUNK_BYTES = 1 << 26
"""Of inverses that are worked on at a time."""

AT_ONCE = 1 / 32
"""Share of an output's weights that leave together in one step."""

MAX_FEATURES = 8192
"""Wider operators are not looked at: one inverse alone would take minutes."""

MAX_WORK = 1e11
"""Of outputs times features cubed, what elimination takes: beyond, a part of the outputs
speaks for the others."""

Single = npt.NDArray[np.float32]


def elimination_losses(xx: Matrix, weights: Matrix) -> Matrix:
    """Say what each weight adds to the error when it leaves and the others make up for it.

    Args:
        xx: Second moments of the inputs, [features, features], or [outputs, f, f].
        weights: [features, outputs].

    Returns:
        [features, outputs], in units of ``xx``; within an output in the order in which the
        weights leave, so that a smaller number always leaves first. Comparable between
        outputs; between operators after a division by the energy of their outputs.
    """
    features, outputs = weights.shape
    mean = np.einsum("...ff->...", xx) / features
    damped = xx + DAMPING * np.multiply.outer(np.maximum(mean, 1e-12), np.eye(features))
    inverse = np.linalg.inv(damped).astype(np.float32)
    inverses = np.broadcast_to(inverse, (outputs, features, features))
    most = max(1, int(MAX_WORK / features**3))
    if most >= outputs:
        return _by_chunks(inverses, weights.T.astype(np.float32)).T
    alone = weights**2 / np.maximum(np.einsum("off->fo", inverses), 1e-30)
    asked = np.linspace(0, outputs - 1, most).astype(int)
    exact = _by_chunks(inverses[asked], weights.T[asked].astype(np.float32))
    return _translate(alone, alone[:, asked], exact)


def _translate(alone: Matrix, some: Matrix, exact: Matrix) -> Matrix:
    """Give losses of weights that were looked at alone as elimination would give them.

    Args:
        alone: What each weight costs if it is the only one to leave.
        some: Those of which elimination is known.
        exact: What it says of them. A weight gets the loss of the same rank.
    """
    losses = np.interp(alone, np.sort(some, axis=None), np.sort(exact, axis=None))
    # Beyond the largest that is known the order is still that of the losses alone.
    return np.asarray(losses + alone * 1e-6)


def _by_chunks(inverses: Single, weights: Single) -> Matrix:
    """Eliminate in all outputs, as many at a time as fit into the cache."""
    losses = np.empty(weights.shape)
    step = max(1, CHUNK_BYTES // (4 * weights.shape[1] ** 2))
    for first in range(0, len(losses), step):
        part = slice(first, first + step)
        losses[part] = _eliminate(inverses[part], weights[part])
    return losses


def _eliminate(inverse: Single, weights: Single) -> Matrix:
    """Take all weights of some outputs away, a few at a time.

    Args:
        inverse: [outputs, m, m], of the Gram matrix.
        weights: [outputs, m].

    Returns:
        [outputs, m]: the error that each added, never less than those before it.
    """
    outputs, features = weights.shape
    losses, most = np.empty((outputs, features)), np.zeros((outputs, 1))
    names = np.tile(np.arange(features), (outputs, 1))
    at_once, row = max(1, round(AT_ONCE * features)), np.arange(outputs)[:, None]
    while names.shape[1]:
        diagonal = np.maximum(np.einsum("omm->om", inverse), np.float32(1e-30))
        order = np.argsort(weights**2 / diagonal, axis=1, kind="stable")
        gone, stay = order[:, :at_once], np.sort(order[:, at_once:], axis=1)
        block = _sub(inverse, gone, gone)
        across = _sub(inverse, stay, gone)
        values = weights[row, gone][:, :, None]
        change = np.linalg.solve(block, np.concatenate([values, across.mT], axis=2))
        added = (values * change[:, :, :1]).sum(axis=1) / gone.shape[1]
        most = np.maximum(most * (1 + 1e-6), added)  # those that leave later cost more
        # Those of one step leave in the order in which they would have left alone.
        losses[row, names[row, gone]] = most * (1 + 1e-9 * np.arange(gone.shape[1]))
        weights = weights[row, stay] - (across @ change[:, :, :1])[:, :, 0]
        inverse = _sub(inverse, stay, stay) - across @ change[:, :, 1:]
        names = names[row, stay]
    return losses


def _sub(matrices: Single, some: npt.NDArray[np.intp], others: npt.NDArray[np.intp]) -> Single:
    """Pick rows and columns of each matrix, [outputs, len(some), len(others)]."""
    which = np.arange(len(matrices))[:, None, None]
    return np.asarray(matrices[which, some[:, :, None], others[:, None, :]])
