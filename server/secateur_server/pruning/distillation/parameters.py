"""What a student may change of itself, how far, and how it gets back into its graph."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from secateur_server.pruning.distillation.network import Parameters
from secateur_server.pruning.graph import Array, Graph, Operator, Tensor
from secateur_server.pruning.linear import NO_BIAS, WEIGHTED, layout, weights_of
from secateur_server.pruning.reconstruction import sum_quantization

Values = dict[int, Array]
"""By storage."""

SMALLEST_SIZE = 1e-8
"""A tensor of zeros must still be able to leave zero."""


def trainable(graph: Graph) -> Values:
    """Give all that may change: weights, biases, slopes, and constants added or multiplied.

    Single numbers stay as they are: they belong to an activation that is written out in
    parts, or to the scaling of the input.
    """
    found: Values = {}
    for operator in graph.operators:
        for slot in _slots(graph, operator):
            tensor = graph.tensors[operator.inputs[slot]]
            if tensor.values is not None and tensor.values.dtype.kind == "f":
                found[tensor.storage] = tensor.values.astype(np.float32)
    return found


def _slots(graph: Graph, operator: Operator) -> list[int]:
    if operator.kind in WEIGHTED:
        place = layout(operator)
        slots = [place.weights, *[place.bias] * (place.bias != NO_BIAS)]
        slots = slots if weights_of(graph, operator) is not None else []
    elif operator.kind in {"ADD", "MUL", "SUB"}:
        slots = [0, 1]
    else:
        slots = [1] * (operator.kind == "PRELU")
    held = [
        slot for slot in slots if slot < len(operator.inputs) and operator.inputs[slot] >= 0
    ]
    is_weighted = operator.kind in WEIGHTED
    return [
        slot
        for slot in held
        if is_weighted or np.prod(graph.tensors[operator.inputs[slot]].shape) > 1
    ]


def sizes(
    graph: Graph,
    values: Mapping[int, Array],
    output_sizes: Mapping[int, float],
    *,
    keep_zeros: bool,
) -> Values:
    """Say how large each tensor is: what its steps are measured by.

    What multiplies is as large as its own root mean square. What is added is as large as
    what it is added to, so that a bias of zero can learn too.

    Args:
        graph: The student.
        values: Its parameters, by storage.
        output_sizes: The root mean square of each operator's output, by operator.
        keep_zeros: Zeros of what multiplies get the size zero, so that they stay.

    Returns:
        By storage, of shapes that broadcast to the tensors'.
    """
    found: Values = {}
    for operator in graph.operators:
        for slot in _slots(graph, operator):
            held = values.get(graph.tensors[operator.inputs[slot]].storage)
            if held is None:
                continue
            is_bias = operator.kind in WEIGHTED and slot == layout(operator).bias
            is_added = is_bias or operator.kind in {"ADD", "SUB"}
            own = float(np.sqrt(np.mean(np.square(held, dtype=np.float64))))
            size = max(output_sizes[operator.index] if is_added else own, SMALLEST_SIZE)
            stays = keep_zeros and not is_added and held == 0
            found[graph.tensors[operator.inputs[slot]].storage] = np.where(
                stays, np.float32(0), np.float32(size)
            )
    return found


def as_stored(graph: Graph, parameters: Parameters) -> Parameters:
    """Give parameters as the codes of their tensors will hold them.

    The gradient passes through the rounding as if it were not there.

    Source:
        Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons for
        Conditional Computation", arXiv:1308.3432, the straight-through estimator.
    """
    stored = dict(parameters)
    for tensor in graph.tensors:
        values = parameters.get(tensor.storage)
        if values is not None and tensor.index == tensor.storage:
            stored[tensor.storage] = values + jax.lax.stop_gradient(_rounding(tensor, values))
    return stored


def _rounding(tensor: Tensor, values: jax.Array) -> jax.Array:
    """Say by how much storing changes values."""
    if tensor.dtype == np.float16:
        return values.astype(jnp.float16).astype(jnp.float32) - values
    quantization = tensor.quantization
    if quantization is None or tensor.dtype not in {np.dtype(np.int8), np.dtype(np.uint8)}:
        return jnp.zeros_like(values)
    limits = np.iinfo(tensor.dtype)
    others = tuple(k for k in range(values.ndim) if k != quantization.axis)
    axes = others if quantization.is_per_channel else None
    if quantization.is_per_channel or not quantization.zero_points.any():
        scale = jnp.abs(values).max(axis=axes, keepdims=True) / limits.max
    else:
        low, high = jnp.minimum(values.min(), 0), jnp.maximum(values.max(), 0)
        scale = (high - low) / (limits.max - limits.min)
    scale = jnp.maximum(scale, SMALLEST_SIZE)
    return jnp.round(values / scale) * scale - values


def with_parameters(graph: Graph, parameters: Mapping[int, Array]) -> Graph:
    """Put values back; a quantized tensor's codes get scales that just hold them.

    Activations keep their ranges, so that a bias keeps the meaning of its codes: the scale
    of the sums.
    """
    for tensor in graph.tensors:
        values = parameters.get(tensor.storage)
        if values is None or tensor.values is None:
            continue
        quantization = tensor.quantization
        if quantization is not None and tensor.dtype in {np.dtype(np.int8), np.dtype(np.uint8)}:
            quantization = quantization.refit(values, tensor.dtype)
            values = quantization.dequantize(quantization.quantize(values, tensor.dtype))
        graph = graph.with_values(tensor.index, values, quantization)
    return _with_sum_scales(graph, parameters)


def _with_sum_scales(graph: Graph, parameters: Mapping[int, Array]) -> Graph:
    for operator in graph.operators:
        place = layout(operator)
        if operator.kind not in WEIGHTED or not 0 <= place.bias < len(operator.inputs):
            continue
        bias = (
            graph.tensors[operator.inputs[place.bias]]
            if operator.inputs[place.bias] >= 0
            else None
        )
        if bias is None or bias.values is None or bias.storage not in parameters:
            continue
        weights = graph.tensors[operator.inputs[place.weights]].quantization
        quantization = sum_quantization(graph, operator, weights)
        if quantization is not None:
            graph = graph.with_values(bias.index, bias.values, quantization)
    return graph
