"""Runs operators in numpy, a whole batch at once, with parameters of the caller's choice.

Pruning needs what the engine does not give: inputs and pre-activation outputs of every
operator of two networks in lockstep. Tests hold these kernels to the engine's results.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.graph import Array, Graph, Operator, Parameters

SAME = 0
"""TFLite's code of SAME padding; VALID is 1."""


def patches(
    values: Array, operator: Operator, kernel: tuple[int, int], fill: float = 0.0
) -> Array:
    """Cut out what each output position sees.

    Args:
        values: [n, h, w, c].
        operator: A convolution or pool: its stride, padding and dilation.
        kernel: Height and width, before dilation.
        fill: What SAME padding puts around.

    Returns:
        A view, [n, out_h, out_w, kernel_h, kernel_w, c].
    """
    options = operator.options
    strides = (options.strideH, options.strideW)
    dilations = (getattr(options, "dilationHFactor", 1), getattr(options, "dilationWFactor", 1))
    spans = [
        (size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)
    ]
    if options.padding == SAME:
        values = _pad_same(values, spans, strides, fill)
    windows = np.lib.stride_tricks.sliding_window_view(values, spans, axis=(1, 2))
    windows = windows[:, :: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]]
    return windows.transpose(0, 1, 2, 4, 5, 3)


def _pad_same(
    values: Array, spans: Sequence[int], strides: Sequence[int], fill: float
) -> Array:
    pads = []
    for size, span, stride in zip(values.shape[1:3], spans, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        pads.append((total // 2, total - total // 2))
    return np.pad(values, ((0, 0), *pads, (0, 0)), constant_values=fill)


def preactivation(
    operator: Operator, values: Array, weights: Array, bias: Array | None
) -> Array:
    """Give what a weighted operator computes before its fused activation."""
    if operator.kind == "FULLY_CONNECTED":
        flat = values.reshape(-1, weights.shape[1])
        result = flat @ weights.T
        if operator.options.keepNumDims:
            result = result.reshape(*values.shape[:-1], weights.shape[0])
    else:
        seen = patches(values, operator, weights.shape[1:3])
        if operator.kind == "CONV_2D":
            rows = seen.reshape(-1, int(np.prod(weights.shape[1:])))
            result = rows @ weights.reshape(weights.shape[0], -1).T
            result = result.reshape(*seen.shape[:3], weights.shape[0])
        else:
            result = _depthwise(seen, weights)
    return result if bias is None else result + bias


def _depthwise(seen: Array, weights: Array) -> Array:
    channels = seen.shape[-1]
    kernels = weights[0].reshape(*weights.shape[1:3], channels, -1)
    result = np.einsum("nhwabc,abcm->nhwcm", seen, kernels, optimize=True)
    flat: Array = result.reshape(*seen.shape[:3], -1)
    return flat


def activate(values: Array, name: str) -> Array:
    """Apply an activation by TFLite's name."""
    if name == "NONE":
        return values
    if name == "RELU":
        return np.maximum(values, 0)
    if name == "RELU6":
        return np.clip(values, 0, 6)
    if name == "RELU_N1_TO_1":
        return np.clip(values, -1, 1)
    if name == "TANH":
        return np.tanh(values)
    msg = f"activation {name} is not supported yet"
    raise ValueError(msg)


def run_operator(
    graph: Graph, operator: Operator, inputs: Sequence[Array], parameters: Parameters
) -> Array:
    """Run one operator on a batch.

    Args:
        graph: Where the operator's constants are.
        operator: Which one.
        inputs: The computed inputs, in order, constants left out.
        parameters: Of weighted operators.

    Returns:
        The output, [n, ...].
    """
    values = inputs[0]
    match operator.kind:
        case "CONV_2D" | "DEPTHWISE_CONV_2D" | "FULLY_CONNECTED":
            result = preactivation(operator, values, *parameters[operator.index])
        case "ADD":
            other = inputs[1] if len(inputs) > 1 else constant_operand(graph, operator)
            result = values + other
        case "AVERAGE_POOL_2D" | "MAX_POOL_2D":
            result = _pool(operator, values)
        case "MEAN":
            axes = np.ravel(constant(graph, operator.inputs[1]))
            keep = bool(operator.options.keepDims)
            result = values.mean(axis=tuple(int(each) for each in axes), keepdims=keep)
        case "RESHAPE":
            result = _reshape(graph, operator, values)
        case "SOFTMAX":
            scaled = operator.options.beta * (values - values.max(axis=-1, keepdims=True))
            grown = np.exp(scaled)
            result = grown / grown.sum(axis=-1, keepdims=True)
        case "RELU" | "RELU6":
            return activate(values, operator.kind)
        case _:
            msg = f"operator {operator.kind} has no kernel"
            raise ValueError(msg)
    return activate(result, operator.activation)


def constant(graph: Graph, index: int) -> npt.NDArray[Any]:
    """Give the values of a constant tensor."""
    data = graph.tensors[index].data
    if data is None:
        msg = f"tensor {graph.tensors[index].name} is no constant"
        raise ValueError(msg)
    return data


def constant_operand(graph: Graph, operator: Operator) -> Array:
    """Give the constant input of a binary operator."""
    for index in operator.inputs:
        data = graph.tensors[index].data
        if data is not None:
            return np.asarray(data, np.float32)
    msg = f"operator #{operator.index} has no constant input"
    raise ValueError(msg)


def _pool(operator: Operator, values: Array) -> Array:
    kernel = (operator.options.filterHeight, operator.options.filterWidth)
    if operator.kind == "MAX_POOL_2D":
        largest: Array = patches(values, operator, kernel, fill=-np.inf).max(axis=(3, 4))
        return largest
    # The average is over what lies inside the image.
    sums = patches(values, operator, kernel).sum(axis=(3, 4))
    counts = patches(np.ones_like(values[:1, :, :, :1]), operator, kernel).sum(axis=(3, 4))
    means: Array = sums / counts
    return means


def _reshape(graph: Graph, operator: Operator, values: Array) -> Array:
    """Reshape each sample: the channels may be fewer than in the file."""
    before = graph.tensors[operator.inputs[0]].shape
    after = graph.tensors[operator.outputs[0]].shape
    if before[-1] == after[-1]:
        return values.reshape(len(values), *after[1:-1], values.shape[-1])
    if len(after) == 2:  # noqa: PLR2004 - flattened: [n, features]
        return values.reshape(len(values), -1)
    return values.reshape(len(values), *after[1:])
