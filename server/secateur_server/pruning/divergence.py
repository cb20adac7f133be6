"""How far a narrower network's outputs are from the original's, without labels."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.execution import Values
from secateur_server.pruning.graph import Graph

FLOOR = 1e-6
"""Least probability that counts: an int8 SOFTMAX says 0."""


def is_classifier(graph: Graph, output: int) -> bool:
    """Whether an output comes from a SOFTMAX: then the largest number is the answer."""
    makers = {made: operator for operator in graph.operators for made in operator.outputs}
    maker = makers.get(output)
    while maker is not None and maker.kind in {"QUANTIZE", "DEQUANTIZE", "RESHAPE"}:
        maker = makers.get(maker.inputs[0])
    return maker is not None and maker.kind in {"SOFTMAX", "LOG_SOFTMAX"}


def divergence(
    graph: Graph, wanted: Mapping[int, Values], found: Mapping[int, Values], part: slice
) -> float:
    """Compare outputs on some of the samples, 0 being equal.

    For probabilities the Kullback-Leibler divergence in nats; for others the share of the
    variance that is missed. The mean over outputs.

    Args:
        graph: The original, to know what its outputs are.
        wanted: Its outputs, by tensor, [n, *shape].
        found: The same of the narrower network; those that are missing do not count.
        part: Which samples.

    Returns:
        0 or more; infinite where nothing can be compared or an output is not finite.
    """
    known = [tensor for tensor in wanted if tensor in found and _is_real(wanted[tensor])]
    if not known:
        return float("inf")
    each = [
        _one(
            np.asarray(wanted[tensor][part], np.float64),
            np.asarray(found[tensor][part], np.float64),
            is_probability=is_classifier(graph, tensor),
        )
        for tensor in known
    ]
    return float(np.mean(each))


def agreement(wanted: Values, found: Values, *, is_classifier: bool) -> float:
    """Give the share of the samples that are answered alike, 0 to 1.

    Args:
        wanted: The original's outputs, real numbers, [n, *shape].
        found: The narrower network's.
        is_classifier: Whether the last axis holds one number per class; if not, the share
            of the variance that is met.
    """
    if is_classifier:
        return float((wanted.argmax(axis=-1) == found.argmax(axis=-1)).mean())
    one, other = np.asarray(wanted, np.float64), np.asarray(found, np.float64)
    return max(0.0, 1.0 - _one(one, other, is_probability=False))


def _is_real(values: Values) -> bool:
    return bool(values.dtype.kind == "f")


def _one(
    wanted: npt.NDArray[np.float64], found: npt.NDArray[np.float64], *, is_probability: bool
) -> float:
    if not np.isfinite(found).all():
        return float("inf")
    if is_probability and wanted.min() >= 0:
        terms: npt.NDArray[np.float64] = wanted * np.log(
            np.maximum(wanted, FLOOR) / np.maximum(found, FLOOR)
        )
        answers = max(wanted.size // int(wanted.shape[-1]), 1)
        return max(0.0, float(terms.sum()) / answers)
    spread = float(((wanted - wanted.mean(axis=0)) ** 2).sum())
    missed = float(((wanted - found) ** 2).sum())
    return missed / max(spread, 1e-30)
