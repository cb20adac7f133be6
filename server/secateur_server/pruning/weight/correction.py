"""Let the weights that stay make up for those that left, front to back.

Two networks run in lockstep on the calibration set, the original and the pruned one. At
each operator every output is fitted on the weights that stay to it so that, on the inputs
it now gets, it computes what the original computed. Biases and zeros are left alone.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from secateur_server.pruning.execution import Frontier, Values
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.linear import layout
from secateur_server.pruning.weight.elimination import MAX_FEATURES, elimination_losses
from secateur_server.pruning.weight.layer import Layer, problem
from secateur_server.pruning.weight.masked import Keep, Matrix, Problem, solve_masked
from secateur_server.pruning.weight.storing import (
    Fitted,
    better_of,
    code_weights,
    put,
    stored_quantization,
)

RIDGE = 1e-3
"""Pull towards the weights that are there, times the mean second moment."""

RIDGE_FEW = 1e-2
"""The same with fewer than `FEW_SAMPLES` samples."""

FEW_SAMPLES = 150

Feeds = Mapping[int, Values]
"""Samples by input tensor, each [n, *shape]."""

Tick = Callable[[float], None]
"""Told the share that is done, 0 to 1."""


def removal_losses(
    graph: Graph, layers: Sequence[Layer], feeds: Feeds, tick: Tick
) -> dict[int, Matrix]:
    """Say what removing each weight costs if the others make up for it.

    Args:
        graph: The original.
        layers: Of it.
        feeds: The calibration set as the graph takes it, [n, *shape] by input tensor.
        tick: Told how far it is.

    Returns:
        By operator index, in the shape of its weights: the squared error that is added,
        as a share of the energy of the operator's outputs, so that operators compare.
        Without those that cannot be solved or are too wide.
    """
    found: dict[int, Matrix] = {}
    by_operator = {each.operator.index: each for each in layers}
    frontier = Frontier(graph, feeds)
    for operator in graph.operators:
        layer = by_operator.get(operator.index)
        seen = frontier.values.get(operator.inputs[layout(operator).data]) if layer else None
        if layer is not None and seen is not None and layer.is_solvable:
            losses = _losses(graph, layer, seen)
            if losses is not None:
                found[operator.index] = losses
        frontier.step(graph, operator)
        frontier.release(operator)
        tick((operator.index + 1) / len(graph.operators))
    return found


def _losses(graph: Graph, layer: Layer, seen: Values) -> Matrix | None:
    matrix = layer.matrix(layer.weights)
    if len(matrix) > MAX_FEATURES:
        return None
    stated = problem(graph, layer, seen, seen)
    energy = float((matrix * stated.xy).sum())
    losses = elimination_losses(stated.xx, matrix) / max(energy, 1e-30)
    return layer.unlaid(losses).astype(np.float64)


def zeroed(graph: Graph, layers: Sequence[Layer], keeps: Mapping[int, Keep]) -> Graph:
    """Set what does not stay to zero, and change nothing else."""
    for layer in layers:
        keep = keeps[layer.operator.index]
        if not keep.all():
            plain = layer.matrix(np.where(keep, layer.weights, np.float32(0)))
            graph = put(graph, layer, Fitted(plain, stored_quantization(graph, layer)))
    return graph


def correct(
    graph: Graph,
    layers: Sequence[Layer],
    keeps: Mapping[int, Keep],
    feeds: Feeds,
    tick: Tick = lambda _share: None,
) -> Graph:
    """Set what does not stay to zero, and fit what stays.

    Args:
        graph: The original.
        layers: Of it.
        keeps: By operator index, which weights stay, in the shape of the weights.
        feeds: The calibration set as the graph takes it, [n, *shape] by input tensor.
        tick: Told how far it is.

    Returns:
        The pruned graph. Each fitted output has at most the error, on the calibration set,
        that it would have without the fit.
    """
    pruned = zeroed(graph, layers, keeps)
    by_operator = {each.operator.index: each for each in layers}
    before, after = (Frontier(graph, feeds) for _ in range(2))
    for operator in graph.operators:
        layer = by_operator.get(operator.index)
        if layer is not None and layer.is_solvable:
            data = operator.inputs[layout(operator).data]
            seen, now = before.values.get(data), after.values.get(data)
            if seen is not None and now is not None:
                stated = problem(graph, layer, seen, now)
                ridge = RIDGE_FEW if len(now) < FEW_SAMPLES else RIDGE
                fitted = _fit(graph, layer, stated, keeps[operator.index], ridge)
                pruned = put(pruned, layer, fitted)
        before.step(graph, operator)
        after.step(pruned, operator)
        before.release(operator)
        after.release(operator)
        tick((operator.index + 1) / len(graph.operators))
    return pruned


def _fit(graph: Graph, layer: Layer, stated: Problem, keep: Keep, ridge: float) -> Fitted:
    """Solve one layer, in numbers that its type can hold."""
    start, stays = layer.matrix(layer.weights), layer.matrix(keep).astype(np.bool_)
    damped, plain = stated.damped(start, ridge), np.where(stays, start, 0.0)
    fitted = solve_masked(damped, start, stays)
    stored = graph.tensors[layer.tensor.storage]
    if stored.quantization is not None and stored.dtype is not None:
        coded = code_weights(graph, layer, damped, fitted, stays)
        return better_of(stated, coded, Fitted(plain, stored.quantization))
    if stored.dtype == np.float16:
        fitted = fitted.astype(np.float16).astype(np.float64)
    return better_of(stated, Fitted(fitted, None), Fitted(plain, None))
