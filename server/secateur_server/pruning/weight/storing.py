"""Fitted weights as the model's types hold them, and into the graph with them.

Scales stay as they are wherever the fitted weights fit into the codes. Where they do not,
the scale grows, and the codes of the bias follow; the bias itself stays.
"""

from dataclasses import dataclass, replace

import numpy as np

from secateur_server.pruning.graph import Graph
from secateur_server.pruning.linear import NO_BIAS, layout
from secateur_server.pruning.quantization import Quantization
from secateur_server.pruning.weight.layer import Layer
from secateur_server.pruning.weight.masked import Keep, Matrix, Problem
from secateur_server.pruning.weight.rounding import round_to_codes


@dataclass(frozen=True, slots=True)
class Fitted:
    """Weights of one layer, [features, outputs], and how they are coded."""

    weights: Matrix
    quantization: Quantization | None


def stored_quantization(graph: Graph, layer: Layer) -> Quantization | None:
    """Say how a layer's weights are coded in the file."""
    return graph.tensors[layer.tensor.storage].quantization


def code_weights(
    graph: Graph, layer: Layer, damped: Problem, fitted: Matrix, stays: Keep
) -> Fitted:
    """Choose codes for the fitted weights of a quantized layer, and scales if need be."""
    stored = graph.tensors[layer.tensor.storage]
    if stored.quantization is None or stored.dtype is None:
        raise ValueError(f"{layer.tensor.name} is not quantized")
    codes, quantization = np.iinfo(stored.dtype), stored.quantization
    _scale, (low, high) = _grid(layer, quantization, codes)
    fits = bool(((fitted >= low) & (fitted <= high)).all())
    if not fits and _may_rescale(graph, layer, quantization):
        wider = quantization.refit(layer.unlaid(fitted), stored.dtype)
        if quantization.is_per_channel:
            scales = np.maximum(wider.scales, quantization.scales)
            wider = replace(wider, scales=scales)
        quantization = wider
    scale, limits = _grid(layer, quantization, codes)
    return Fitted(round_to_codes(damped, fitted, stays, scale, limits), quantization)


def _grid(
    layer: Layer, quantization: Quantization, codes: np.iinfo
) -> tuple[Matrix, tuple[Matrix, Matrix]]:
    """Give the steps and limits of a tensor's codes, each [features, outputs]."""
    scales, zeros = (
        layer.matrix(np.broadcast_to(each, layer.weights.shape))
        for each in quantization.spread(layer.weights.ndim)
    )
    # int8 weights keep to -127..127, as the quantization specification has it.
    lowest = codes.min + (codes.min < 0)
    return scales, ((lowest - zeros) * scales, (codes.max - zeros) * scales)


def _may_rescale(graph: Graph, layer: Layer, quantization: Quantization) -> bool:
    """Whether there is a scale for each output or for all, and a bias that can follow."""
    outputs = layer.matrix(layer.weights).shape[1]
    bias = _bias_tensor(graph, layer)
    is_free = bias < 0 or len(graph.users(bias)) == 1
    return is_free and len(quantization.scales) in {1, outputs}


def better_of(stated: Problem, fitted: Fitted, plain: Fitted) -> Fitted:
    """Take the fitted outputs where that pays; where all have one scale, all or none."""
    errors, before = stated.errors(fitted.weights), stated.errors(plain.weights)
    is_better = errors < before
    if fitted.quantization is None or plain.quantization is None:
        return Fitted(np.where(is_better, fitted.weights, plain.weights), None)
    if fitted.quantization is not plain.quantization:
        if len(plain.quantization.scales) != len(is_better):
            return fitted if errors.sum() < before.sum() else plain
        scales = np.where(is_better, fitted.quantization.scales, plain.quantization.scales)
        fitted = replace(fitted, quantization=replace(plain.quantization, scales=scales))
    weights = np.where(is_better, fitted.weights, plain.weights)
    return Fitted(weights, fitted.quantization)


def put(graph: Graph, layer: Layer, fitted: Fitted) -> Graph:
    """Give a layer other weights, and the bias of a quantized one the scale of the sums."""
    before = stored_quantization(graph, layer)
    weights = layer.unlaid(fitted.weights)
    graph = graph.with_values(layer.tensor.index, weights, fitted.quantization)
    bias = _bias_tensor(graph, layer)
    held = graph.tensors[bias] if bias >= 0 else None
    if held is None or held.values is None or held.quantization is None:
        return graph
    data = graph.tensors[layer.operator.inputs[layout(layer.operator).data]].quantization
    is_same = before is None or fitted.quantization is None or before is fitted.quantization
    if data is None or is_same or fitted.quantization is None:
        return graph
    sums = replace(held.quantization, scales=data.scales[0] * fitted.quantization.scales)
    zeros = np.zeros(len(sums.scales), np.int64)
    return graph.with_values(bias, held.values, replace(sums, zero_points=zeros))


def _bias_tensor(graph: Graph, layer: Layer) -> int:
    """Give the tensor of a layer's bias; negative: it has none."""
    operator = graph.operators[layer.operator.index]
    slot = layout(operator).bias
    return operator.inputs[slot] if slot != NO_BIAS and slot < len(operator.inputs) else -1
