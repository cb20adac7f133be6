"""A weighted operator as weight pruning sees it: a matrix, and what its inputs look like."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.execution import Values
from secateur_server.pruning.graph import Array, Graph, Operator, Tensor
from secateur_server.pruning.linear import (
    as_matrix,
    conv_rows,
    from_matrix,
    is_linear,
    layout,
    rows,
    weights_of,
)
from secateur_server.pruning.moments import Moments, pieces
from secateur_server.pruning.weight.masked import Matrix, Problem

DEPTHWISE = "DEPTHWISE_CONV_2D"

MAX_ROWS = 32_768
"""Positions looked at for one operator: moments of a few thousand features are settled."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator with constant weights of its own.

    Attributes:
        operator: In the graph.
        tensor: Its weights, as the operator reads them.
        weights: Their values, in the operator's own layout.
        is_solvable: Whether its outputs are least squares of its inputs. Not so where
            several operators share the weights, and for convolutions by channel groups.
    """

    operator: Operator
    tensor: Tensor
    weights: Array
    is_solvable: bool

    def matrix(self, weights: npt.NDArray[Any]) -> Matrix:
        """Lay something of the weights' shape out as [features, outputs]."""
        if self.operator.kind == DEPTHWISE:
            return weights.reshape(-1, weights.shape[-1]).astype(np.float64)
        return as_matrix(self.operator, weights).astype(np.float64)

    def unlaid(self, matrix: Matrix) -> Array:
        """Undo `matrix`."""
        if self.operator.kind == DEPTHWISE:
            return np.ascontiguousarray(matrix.reshape(self.weights.shape), np.float32)
        return from_matrix(self.operator, matrix, self.weights)


def find_layers(graph: Graph) -> list[Layer]:
    """List what weight pruning may work on, in the order of execution.

    Weights that several operators share are listed once, with the first of them.
    """
    layers: list[Layer] = []
    for operator in graph.operators:
        weights = weights_of(graph, operator)
        if weights is None or weights.size < 2:  # noqa: PLR2004 - one weight has to stay
            continue
        tensor = graph.tensors[operator.inputs[layout(operator).weights]]
        if any(each.tensor.storage == tensor.storage for each in layers):
            continue
        is_known = operator.kind == DEPTHWISE or is_linear(graph, operator)
        is_alone = len(graph.users(tensor.index)) == 1
        layers.append(Layer(operator, tensor, weights, is_known and is_alone))
    return layers


def problem(graph: Graph, layer: Layer, seen: Values, now: Values) -> Problem:
    """State which weights make the outputs of ``seen`` from the inputs ``now``.

    Args:
        graph: The original.
        layer: A solvable one.
        seen: The operator's input in the original network, [n, *shape].
        now: The same in the pruned one.

    Returns:
        The least squares problem, summed up over at most `MAX_ROWS` positions or so.
    """
    if layer.operator.kind == DEPTHWISE:
        return _depthwise_problem(graph, layer, seen, now)
    moments, matrix = Moments(), layer.matrix(layer.weights).astype(np.float32)
    for was, is_now in _rows(graph, layer, seen, now):
        moments.add(is_now, was @ matrix)
    return Problem(moments.xx, moments.xy)


def _depthwise_problem(graph: Graph, layer: Layer, seen: Values, now: Values) -> Problem:
    matrix = layer.matrix(layer.weights).astype(np.float32)
    taps, outputs = matrix.shape
    xx, xy = np.zeros((outputs, taps, taps)), np.zeros((taps, outputs))
    for pair in _rows(graph, layer, seen, now):
        was, is_now = (_by_output(each, taps, outputs) for each in pair)
        targets = np.einsum("ont,to->on", was, matrix)
        xx += is_now.transpose(0, 2, 1) @ is_now
        xy += np.einsum("ont,on->to", is_now, targets)
    return Problem(xx, xy)


def _rows(
    graph: Graph, layer: Layer, seen: Values, now: Values
) -> Iterator[tuple[Array, Array]]:
    """Lay both inputs out, the same positions of both, a piece that fits into memory each."""
    operator, per_sample = layer.operator, max(1, MAX_ROWS // len(now))
    is_depthwise, kernel = operator.kind == DEPTHWISE, layer.weights.shape
    features = layer.weights.size if is_depthwise else len(layer.matrix(layer.weights))
    for part in pieces(len(now), 4 * per_sample * features):
        was, is_now = (
            conv_rows(graph, operator, each[part], kernel, per_sample, operator.index)
            if is_depthwise
            else rows(graph, operator, each[part], per_sample, operator.index)
            for each in (seen, now)
        )
        yield was, is_now


def _by_output(laid: Array, taps: int, outputs: int) -> Array:
    """Give what each output of a depthwise convolution sees, [outputs, rows, taps]."""
    by_input = laid.reshape(len(laid), taps, -1).transpose(2, 0, 1)
    return np.ascontiguousarray(np.repeat(by_input, outputs // len(by_input), axis=0))
