"""How far a narrower network's outputs are from the original's, without labels."""

from collections.abc import Mapping, Sequence
from enum import Enum

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.execution import Values
from secateur_server.pruning.graph import Graph

FLOOR = 1e-6
"""Least probability that counts: an int8 SOFTMAX says 0."""

LEAST_SPREAD = 1e-4
"""Least variance of an output, of its mean square: an output that is almost the same for all
samples is met where it is met within a hundredth of its size."""


class Answer(Enum):
    """What an output says, and so how two networks are compared by it."""

    CLASS = "the place of the largest number of the last axis: what comes from a SOFTMAX"
    LABEL = "an integer, which is right or wrong: what comes from an ARG_MAX"
    NUMBERS = "real numbers, which are more or less right"


def compared(graph: Graph) -> frozenset[int]:
    """Give the tensors by which narrower networks are compared with the original.

    They are its outputs; in place of a label, the real numbers that it is told from.
    """
    found, waiting, seen = set[int](), list(graph.outputs), set[int]()
    while waiting:
        tensor = waiting.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        maker = graph.maker(tensor)
        if graph.tensors[tensor].is_real:
            found.add(tensor)
        elif maker is not None:
            waiting += graph.computed(maker)
    return frozenset(found)


def answers(graph: Graph) -> tuple[Answer, ...]:
    """Say what each output of a network says."""
    return tuple(_answer(graph, output) for output in graph.outputs)


def _answer(graph: Graph, output: int) -> Answer:
    if _is_probability(graph, output):
        return Answer.CLASS
    return Answer.NUMBERS if graph.tensors[output].is_real else Answer.LABEL


def _is_probability(graph: Graph, output: int) -> bool:
    maker = graph.maker(output)
    while maker is not None and maker.kind in {"QUANTIZE", "DEQUANTIZE", "RESHAPE"}:
        maker = graph.maker(maker.inputs[0])
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
            is_probability=_is_probability(graph, tensor),
        )
        for tensor in known
    ]
    return float(np.mean(each))


def agreement(
    kinds: Sequence[Answer], wanted: Sequence[Values], found: Sequence[Values]
) -> float:
    """Give the share of the original's answers that is met, 0 to 1: the mean over outputs.

    Of classes and labels the share that is the same; of numbers the share of the variance.

    Args:
        kinds: What each output says.
        wanted: The original's outputs, real numbers, each [n, *shape].
        found: The narrower network's.
    """
    return float(np.mean([_met(*each) for each in zip(kinds, wanted, found, strict=True)]))


def named(kind: Answer, values: Values) -> Values:
    """Give the class or the label that an output names, [n, ...]."""
    return values.argmax(axis=-1) if kind is Answer.CLASS else values


def _met(kind: Answer, wanted: Values, found: Values) -> float:
    if kind is not Answer.NUMBERS:
        return float((named(kind, wanted) == named(kind, found)).mean())
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
    least = LEAST_SPREAD * float((wanted**2).sum())
    missed = float(((wanted - found) ** 2).sum())
    return missed / max(spread, least, 1e-30)
