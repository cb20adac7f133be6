"""Least squares: let every consumer make up for what left, front to back.

Two networks run in lockstep on the calibration set, the original and the pruned one. At
each consumer of a pruned group the weights that stay are fitted so that on the inputs it
now gets it computes what the original computed before its activation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.execution import patches, run_operator
from secateur_server.pruning.graph import WEIGHTED, Array, Graph, Operator
from secateur_server.pruning.groups import Grouping
from secateur_server.pruning.saliency import Consumer, Matrix

MAX_ROWS = 32_768
"""Positions used for one fit: second moments of a few thousand features are settled."""

RIDGE = 1e-3
"""Pull towards the weights that are there, times the mean second moment."""

RIDGE_FEW = 1e-2
"""The same with fewer than `FEW_SAMPLES` samples."""

FEW_SAMPLES = 150

Kept = Mapping[int, npt.NDArray[np.intp]]
"""Channels that stay, ascending, by group; groups that are left out keep all."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Weights and biases of the pruned network, by operator index, in TFLite's layouts."""

    parameters: dict[int, tuple[Array, Array | None]]


def original_parameters(graph: Graph) -> dict[int, tuple[Array, Array | None]]:
    """Give the parameters that are in the file."""
    return {
        operator.index: (graph.weights(operator), graph.bias(operator))
        for operator in graph.operators
        if operator.kind in WEIGHTED
    }


def run_original(graph: Graph, x: Array) -> dict[int, Array]:
    """Run the whole network in numpy.

    Returns:
        Every computed tensor by index, [n, ...].
    """
    parameters = original_parameters(graph)
    values: dict[int, Array] = {graph.inputs[0]: x}
    for operator in graph.operators:
        inputs = [values[k] for k in operator.inputs if k in values]
        values[operator.outputs[0]] = run_operator(graph, operator, inputs, parameters)
    return values


def features(operator: Operator, values: Array, weights: Array, *, rows: int) -> Matrix:
    """Lay a consumer's input out as the rows of its linear map.

    Args:
        operator: A convolution, not depthwise, or a dense layer.
        values: Its input, [n, ...].
        weights: In TFLite's layout; only its shape counts.
        rows: At most so many rows, spread evenly.

    Returns:
        [rows, features], the features in the order of the weights' axes.
    """
    if operator.kind == "FULLY_CONNECTED":
        laid = values.reshape(-1, values.shape[-1])
        return laid[_spread(len(laid), rows)].astype(np.float64)
    seen = patches(values, operator, weights.shape[1:3])
    n, h, w = seen.shape[:3]
    chosen = np.unravel_index(_spread(n * h * w, rows), (n, h, w))
    return seen[chosen].reshape(len(chosen[0]), -1).astype(np.float64)


def measure_consumers(
    graph: Graph, grouping: Grouping, group: int, values: Mapping[int, Array]
) -> list[Consumer]:
    """Collect the second moments that the selection of one group needs."""
    found = []
    for index in grouping.groups[group].consumers:
        operator = graph.operators[index]
        weights = graph.weights(operator)
        laid = features(operator, values[operator.inputs[0]], weights, rows=MAX_ROWS)
        centred = laid - laid.mean(axis=0)
        ids = grouping.axes[operator.inputs[0]].ids
        found.append(
            Consumer(
                moments=centred.T @ centred / len(centred),
                weights=weights.reshape(len(weights), -1).T.astype(np.float64),
                channels=np.tile(ids, laid.shape[1] // len(ids)),
            )
        )
    return found


def reconstruct(
    graph: Graph, grouping: Grouping, kept: Kept, original: Mapping[int, Array]
) -> Fitted:
    """Slice every weighted operator to what stays, and fit the consumers.

    Args:
        graph: The original network.
        grouping: Its groups.
        kept: What stays of the groups that lose channels.
        original: Every tensor of the unpruned network on the calibration set.

    Returns:
        Parameters of the pruned network.
    """
    fitted = Fitted({})
    pruned: dict[int, Array] = {graph.inputs[0]: original[graph.inputs[0]]}
    full = original_parameters(graph)
    for operator in graph.operators:
        if operator.kind in WEIGHTED:
            weights, bias = _slice(grouping, kept, operator, full)
            if _is_narrowed(grouping, kept, operator):
                target = _target(grouping, kept, operator, original, full)
                weights, bias = _fit(operator, pruned[operator.inputs[0]], weights, target)
            fitted.parameters[operator.index] = (weights, bias)
        inputs = [
            pruned[k] if k in pruned else _constant(graph, grouping, kept, operator, k)
            for k in operator.inputs[: 2 if operator.kind == "ADD" else 1]
        ]
        output = run_operator(graph, operator, inputs, fitted.parameters)
        pruned[operator.outputs[0]] = output
    return fitted


def keep_features(grouping: Grouping, kept: Kept, tensor: int) -> npt.NDArray[np.intp]:
    """Give the positions of a tensor's last axis that stay, ascending."""
    axis = grouping.axes[tensor]
    if axis.group not in kept:
        return np.arange(len(axis.ids))
    return np.flatnonzero(np.isin(axis.ids, kept[axis.group]))


def _is_narrowed(grouping: Grouping, kept: Kept, operator: Operator) -> bool:
    is_linear = operator.kind != "DEPTHWISE_CONV_2D"
    return is_linear and grouping.axes[operator.inputs[0]].group in kept


def _slice(
    grouping: Grouping,
    kept: Kept,
    operator: Operator,
    full: Mapping[int, tuple[Array, Array | None]],
) -> tuple[Array, Array | None]:
    weights, bias = full[operator.index]
    outputs = keep_features(grouping, kept, operator.outputs[0])
    if operator.kind == "DEPTHWISE_CONV_2D":
        weights = weights[..., outputs]
    else:
        inputs = keep_features(grouping, kept, operator.inputs[0])
        weights = weights[outputs][..., inputs]
    return np.ascontiguousarray(weights), None if bias is None else bias[outputs]


def _constant(
    graph: Graph, grouping: Grouping, kept: Kept, operator: Operator, tensor: int
) -> Array:
    data = np.asarray(graph.tensors[tensor].data, np.float32)
    if data.ndim == 0 or data.shape[-1] == 1:
        return data
    return data[..., keep_features(grouping, kept, operator.outputs[0])]


def _target(
    grouping: Grouping,
    kept: Kept,
    operator: Operator,
    original: Mapping[int, Array],
    full: Mapping[int, tuple[Array, Array | None]],
) -> Matrix:
    """Give what the original computes before its activation, for the outputs that stay."""
    weights, bias = full[operator.index]
    outputs = keep_features(grouping, kept, operator.outputs[0])
    laid = features(operator, original[operator.inputs[0]], weights, rows=MAX_ROWS)
    result = laid @ weights.reshape(len(weights), -1)[outputs].T.astype(np.float64)
    return result if bias is None else result + bias[outputs]


def _fit(
    operator: Operator, values: Array, weights: Array, target: Matrix
) -> tuple[Array, Array]:
    """Solve min ||Y - X W - b||^2 + ridge ||W - W0||^2 for W and b, all centred.

    Source:
        He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017,
        arXiv:1707.06168, section 3.1, with a ridge towards the weights that are there.
    """
    laid = features(operator, values, weights, rows=MAX_ROWS)
    mean_x, mean_y = laid.mean(axis=0), target.mean(axis=0)
    centred = laid - mean_x
    moments = centred.T @ centred
    ridge = RIDGE_FEW if len(values) < FEW_SAMPLES else RIDGE
    pull = ridge * max(float(np.trace(moments)) / len(moments), 1e-12)
    start = weights.reshape(len(weights), -1).T.astype(np.float64)
    right = centred.T @ (target - mean_y) + pull * start
    solved = np.linalg.solve(moments + pull * np.eye(len(moments)), right)
    bias = mean_y - mean_x @ solved
    return solved.T.reshape(weights.shape).astype(np.float32), bias.astype(np.float32)


def _spread(available: int, wanted: int) -> npt.NDArray[np.intp]:
    if available <= wanted:
        return np.arange(available)
    # The same positions for both networks; a stride that avoids the image's own period.
    return np.sort(np.random.default_rng(0).choice(available, wanted, replace=False))
