"""Least squares: let every consumer make up for what left, front to back.

Two networks run in lockstep on the calibration set, the original and the pruned one. At
each consumer of pruned channels the weights that stay are fitted so that on the inputs it
now gets it computes what the original computed before its activation. Errors of the layers
before are seen and made up for as well.
"""

import numpy as np

from secateur_server.pruning.channels import Channels
from secateur_server.pruning.execution import Frontier, Values
from secateur_server.pruning.graph import Array, Graph, Operator
from secateur_server.pruning.linear import (
    NO_BIAS,
    as_matrix,
    bias_of,
    from_matrix,
    has_movable_features,
    is_linear,
    layout,
    output_units,
    rows,
    weights_of,
)
from secateur_server.pruning.moments import Matrix, Moments, pieces
from secateur_server.pruning.narrowing import Stays, narrow
from secateur_server.pruning.quantization import Quantization

RIDGE = 1e-3
"""Pull towards the weights that are there, times the mean second moment."""

RIDGE_FEW = 1e-2
"""The same with fewer than `FEW_SAMPLES` samples."""

FEW_SAMPLES = 150


def reconstruct(graph: Graph, channels: Channels, stays: Stays, x: Values) -> Graph:
    """Narrow a network and fit the weights that stay.

    Args:
        graph: The original.
        channels: Of the original.
        stays: Which channels stay.
        x: The calibration set as the graph takes it, [n, *input shape].

    Returns:
        The narrowed graph. Where an operator cannot be run its consumers are only sliced.
    """
    pair = _Lockstep(graph, channels, stays, x)
    for operator in graph.operators:
        pair.advance(operator)
    return pair.narrowed


class _Lockstep:
    """The original and the narrowed network, at the same operator."""

    def __init__(self, graph: Graph, channels: Channels, stays: Stays, x: Values) -> None:
        self.graph = graph
        self.narrowed = narrow(graph, channels, stays)
        self._channels = channels
        self._stays = stays
        self._before = Frontier(graph, {graph.inputs[0]: x})
        self._after = Frontier(graph, {graph.inputs[0]: x})

    def advance(self, operator: Operator) -> None:
        """Fit an operator if it is to be, and run it in both networks."""
        is_same = all(
            self._before.values.get(k) is self._after.values.get(k) for k in operator.inputs
        )
        if not is_same and self._is_to_fit(operator):
            self._fit(operator)
        self._before.step(self.graph, operator)
        if is_same and not self._differs(operator):
            done = {k: self._before.values.get(k) for k in operator.outputs}
            self._after.values.update(done)
        else:
            self._after.step(self.narrowed, self.narrowed.operators[operator.index])
        self._before.release(operator)
        self._after.release(operator)

    def _differs(self, operator: Operator) -> bool:
        now = self.narrowed.operators[operator.index]
        return now.inputs != operator.inputs or any(
            self.graph.tensors[k] is not self.narrowed.tensors[k]
            for k in (*operator.inputs, *operator.outputs)
            if k >= 0
        )

    def _is_to_fit(self, operator: Operator) -> bool:
        if not is_linear(self.graph, operator):
            return False
        if not has_movable_features(self.graph, self._channels, operator):
            return False
        return len(self.graph.users(operator.inputs[layout(operator).weights])) == 1

    def _fit(self, operator: Operator) -> None:
        slot = operator.inputs[layout(operator).data]
        seen, now = self._before.values.get(slot), self._after.values.get(slot)
        sliced = weights_of(self.narrowed, operator)
        if seen is None or now is None or sliced is None:
            return
        moments = self._moments(operator, seen, now)
        ridge = RIDGE_FEW if len(now) < FEW_SAMPLES else RIDGE
        start = as_matrix(operator, sliced).astype(np.float64)
        bias = None
        if layout(operator).bias == NO_BIAS:
            solved = solve(moments.xx, moments.xy, start, ridge)
        else:
            solved = solve(*moments.centred(), start, ridge)
            bias = ((moments.y - moments.x @ solved) / moments.count).astype(np.float32)
        weights = from_matrix(operator, solved, sliced)
        self.narrowed = _with_parameters(self.narrowed, operator, weights, bias)

    def _moments(self, operator: Operator, seen: Values, now: Values) -> Moments:
        """Sum up what the narrowed operator sees and what the original makes of what it saw."""
        weights, bias = weights_of(self.graph, operator), bias_of(self.graph, operator)
        units = output_units(self.graph, self._channels, operator)
        outputs = np.flatnonzero(self._stays[units])
        matrix = as_matrix(operator, np.asarray(weights))[:, outputs]
        moments, seed = Moments(), operator.index
        for part, per_sample in pieces(self.graph, operator, len(now)):
            wanted = rows(self.graph, operator, seen[part], per_sample, seed) @ matrix
            wanted = wanted if bias is None else wanted + bias[outputs]
            moments.add(rows(self.narrowed, operator, now[part], per_sample, seed), wanted)
        return moments


def solve(xx: Matrix, xy: Matrix, start: Matrix, ridge: float) -> Matrix:
    """Minimise ||Y - X W||^2 + pull ||W - start||^2 over W.

    Args:
        xx: X'X, [features, features].
        xy: X'Y, [features, outputs].
        start: [features, outputs].
        ridge: ``pull`` in units of the mean of the diagonal of ``xx``.

    Returns:
        W, [features, outputs].

    Source:
        He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017,
        arXiv:1707.06168, section 3.1, with a ridge towards the weights that are there.
    """
    pull = ridge * max(float(np.trace(xx)) / len(xx), 1e-12)
    damped = xx + pull * np.eye(len(xx))
    return np.asarray(np.linalg.solve(damped, xy + pull * start), np.float64)


def _with_parameters(
    graph: Graph, operator: Operator, weights: Array, bias: Array | None
) -> Graph:
    """Put fitted values in, as the codes of a quantized model would hold them."""
    place = layout(operator)
    index = graph.operators[operator.index].inputs[place.weights]
    tensor = graph.tensors[index]
    quantization = tensor.quantization
    if quantization is not None and tensor.dtype is not None:
        quantization = quantization.refit(weights, tensor.dtype)
        weights = quantization.dequantize(quantization.quantize(weights, tensor.dtype))
    graph = graph.with_values(index, weights, quantization)
    if bias is None:
        return graph
    slots = graph.operators[operator.index].inputs
    held = slots[place.bias] if place.bias < len(slots) else -1
    if held < 0 or len(graph.users(held)) > 1:
        graph = graph.with_constant(operator.index, place.bias, bias)
        held = len(graph.tensors) - 1
    return graph.with_values(held, bias, _bias_quantization(graph, operator, quantization))


def _bias_quantization(
    graph: Graph, operator: Operator, weights: Quantization | None
) -> Quantization | None:
    """Give the scale of the sums: input scale x weight scale."""
    data = graph.tensors[operator.inputs[layout(operator).data]].quantization
    if data is None or weights is None:
        return None
    scales = data.scales[0] * weights.scales
    return Quantization(scales, np.zeros(len(scales), np.int64), axis=0)
