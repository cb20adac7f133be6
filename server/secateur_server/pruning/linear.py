"""Operators that are a linear map of their input: the ones that channels leave from.

Each is seen as rows [rows, features] times a matrix [features, outputs] plus a bias.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.channels import FIXED, Channels, Ids
from secateur_server.pruning.graph import Array, Graph, Operator

SAME = 0
"""TFLite's code of SAME padding; VALID is 1."""

NO_BIAS = -1


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a linear operator keeps what.

    Attributes:
        data: Input slot of what it maps.
        weights: Input slot of its weights.
        bias: Input slot of its bias, `NO_BIAS` where it cannot have one.
    """

    data: int = 0
    weights: int = 1
    bias: int = 2


LAYOUTS = {
    "CONV_2D": Layout(),
    "FULLY_CONNECTED": Layout(),
    "TRANSPOSE_CONV": Layout(data=2, weights=1, bias=3),
    "BATCH_MATMUL": Layout(bias=NO_BIAS),
}
WEIGHTED = frozenset({*LAYOUTS, "DEPTHWISE_CONV_2D"})
"""What has weights that weight pruning may set to zero."""


def layout(operator: Operator) -> Layout:
    """Give the slots of a weighted operator."""
    return LAYOUTS.get(operator.kind, Layout())


def weights_of(graph: Graph, operator: Operator) -> Array | None:
    """Give a weighted operator's weights in its own layout; ``None``: computed or opaque."""
    slot = layout(operator).weights
    if operator.kind not in WEIGHTED or slot >= len(operator.inputs):
        return None
    values = graph.values(operator.inputs[slot])
    return values if values is None or values.dtype == np.float32 else None


def bias_of(graph: Graph, operator: Operator) -> Array | None:
    """Give a weighted operator's bias; ``None``: it has none."""
    slot = layout(operator).bias
    if slot == NO_BIAS or slot >= len(operator.inputs):
        return None
    return graph.values(operator.inputs[slot])


def is_linear(graph: Graph, operator: Operator) -> bool:
    """Whether this is a linear map with constant weights, and not one by channel groups."""
    weights = weights_of(graph, operator)
    if operator.kind not in LAYOUTS or weights is None:
        return False
    data = graph.tensors[operator.inputs[layout(operator).data]]
    if operator.kind == "CONV_2D":
        return bool(data.shape[-1] == weights.shape[-1])
    return not data.is_constant


def as_matrix(
    operator: Operator, weights: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Lay weights out as [features, outputs]."""
    if operator.kind == "BATCH_MATMUL":
        matrix = weights.reshape(weights.shape[-2:])
        return matrix.T if operator.options.adjY else matrix
    return weights.reshape(len(weights), -1).T


def from_matrix(operator: Operator, matrix: npt.NDArray[np.float64], like: Array) -> Array:
    """Undo `as_matrix`, for weights of the shape of ``like``."""
    is_plain = operator.kind == "BATCH_MATMUL" and not operator.options.adjY
    laid = matrix if is_plain else matrix.T
    return np.ascontiguousarray(laid.reshape(like.shape), np.float32)


def feature_units(graph: Graph, channels: Channels, operator: Operator) -> Ids:
    """Give the unit of each feature, [features], in the order of `as_matrix`."""
    weights = graph.tensors[operator.inputs[layout(operator).weights]]
    is_plain = operator.kind == "BATCH_MATMUL" and not operator.options.adjY
    inner = channels.ids(graph, weights.index, -2 if is_plain else -1)
    if operator.kind in {"CONV_2D", "TRANSPOSE_CONV"}:
        return np.tile(inner, int(np.prod(weights.shape[1:3])))
    return inner


def output_units(graph: Graph, channels: Channels, operator: Operator) -> Ids:
    """Give the unit of each output, [outputs]."""
    return channels.ids(graph, operator.outputs[0], -1)


def has_movable_features(graph: Graph, channels: Channels, operator: Operator) -> bool:
    """Whether any of its features may leave."""
    return bool((feature_units(graph, channels, operator) != FIXED).any())


def rows(
    graph: Graph, operator: Operator, values: Array, per_sample: int, seed: int
) -> npt.NDArray[np.float32]:
    """Lay a linear operator's input out as the rows of its map.

    Args:
        graph: Where its weights are.
        operator: A linear operator.
        values: Its input, [n, *shape of the tensor].
        per_sample: At most so many positions of each sample, by chance.
        seed: The same gives the same positions for another network of the same layout.

    Returns:
        [n x positions, features].
    """
    weights = graph.tensors[operator.inputs[layout(operator).weights]]
    if operator.kind == "CONV_2D":
        return conv_rows(graph, operator, values, weights.shape, per_sample, seed)
    if operator.kind == "TRANSPOSE_CONV":
        return _transposed_rows(graph, operator, values, weights.shape, per_sample, seed)
    features = as_matrix(operator, np.empty(weights.shape, np.float32)).shape[0]
    laid = values.reshape(len(values), -1, features)
    chosen = _choose(laid.shape[1], per_sample, seed)
    return laid[:, chosen].reshape(-1, features)


def padding_before(size: int, span: int, stride: int) -> int:
    """Give what SAME padding puts before the first element.

    Source:
        TensorFlow's documentation of ``tf.nn``, "Notes on padding".
    """
    return max((-(-size // stride) - 1) * stride + span - size, 0) // 2


def conv_rows(
    graph: Graph,
    operator: Operator,
    values: Array,
    kernel: tuple[int, ...],
    per_sample: int,
    seed: int,
) -> npt.NDArray[np.float32]:
    """Lay the input of a convolution out, depthwise ones included.

    Args:
        graph: Where it stands.
        operator: The convolution.
        values: Its input, [n, *shape].
        kernel: Shape of its weights: height and width are on axes 1 and 2.
        per_sample: At most so many positions of each sample, by chance.
        seed: The same gives the same positions.

    Returns:
        [n x positions, height x width x channels of the input].
    """
    options = operator.options
    images = values.reshape(-1, *values.shape[-3:])
    output = graph.tensors[operator.outputs[0]].shape
    chosen = _choose(output[1] * output[2], per_sample, seed)
    axes = []
    for axis, place in ((1, chosen // output[2]), (2, chosen % output[2])):
        size, taps = images.shape[axis], kernel[axis]
        stride = (options.strideH, options.strideW)[axis - 1]
        dilation = (options.dilationHFactor, options.dilationWFactor)[axis - 1]
        span = (taps - 1) * dilation + 1
        before = padding_before(size, span, stride) if options.padding == SAME else 0
        axes.append(place[:, None] * stride - before + np.arange(taps)[None, :] * dilation)
    return _gather(images, axes[0], axes[1])


def _transposed_rows(
    graph: Graph,
    operator: Operator,
    values: Array,
    kernel: tuple[int, ...],
    per_sample: int,
    seed: int,
) -> npt.NDArray[np.float32]:
    """See it from its outputs: tap k of output o is input (o + padding - k) / stride."""
    options = operator.options
    images = values.reshape(-1, *values.shape[-3:])
    output = graph.tensors[operator.outputs[0]].shape
    chosen = _choose(output[1] * output[2], per_sample, seed)
    axes = []
    for axis, place in ((1, chosen // output[2]), (2, chosen % output[2])):
        stride = (options.strideH, options.strideW)[axis - 1]
        span = kernel[axis]
        before = padding_before(output[axis], span, stride) if options.padding == SAME else 0
        shifted = place[:, None] + before - np.arange(span)[None, :]
        axes.append(np.where(shifted % stride == 0, shifted // stride, -1))
    return _gather(images, axes[0], axes[1])


def _gather(
    images: Array, rows_at: npt.NDArray[np.intp], columns_at: npt.NDArray[np.intp]
) -> npt.NDArray[np.float32]:
    """Collect taps; outside of the image they are zero.

    Args:
        images: [n, h, w, c].
        rows_at: [positions, taps].
        columns_at: The same.

    Returns:
        [n x positions, taps x taps x c].
    """
    count, height, width, channels = images.shape
    inside = ((rows_at >= 0) & (rows_at < height))[:, :, None] & (
        (columns_at >= 0) & (columns_at < width)
    )[:, None, :]
    outside = height * width
    at = np.where(inside, rows_at[:, :, None] * width + columns_at[:, None, :], outside)
    pixels = images.reshape(count, outside, channels)
    if not inside.all():
        pixels = np.concatenate([pixels, np.zeros((count, 1, channels), np.float32)], axis=1)
    elif np.array_equal(at.ravel(), np.arange(outside)):
        return pixels.reshape(count * len(rows_at), -1)
    found: npt.NDArray[np.float32] = pixels.take(at.ravel(), axis=1)
    return found.reshape(count * len(rows_at), -1)


def _choose(count: int, wanted: int, seed: int) -> npt.NDArray[np.intp]:
    if count <= wanted:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))
