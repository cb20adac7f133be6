"""What one operator can be for XNNPACK's sparse kernels, or why it cannot.

Source:
    ``xnn_check_nchw_compatibility`` in XNNPACK's ``src/subgraph.c``, and what LiteRT's
    ``xnnpack_delegate.cc`` makes of TFLite's paddings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from secateur_server.pruning.graph import Array, Graph, Operator
from secateur_server.pruning.linear import SAME, padding_before, weights_of

UNARY = frozenset(
    [
        *("ABS", "CEIL", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU"),
        *("LOGISTIC", "NEG", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND", "RSQRT", "SQRT"),
        *("SQUARE", "TANH"),
    ]
)
SMALL, LARGE = 3, 5
"""Sizes of depthwise kernels that there are sparse partners for."""

IMAGE_AXES = 4
COLOURS = 3
CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
FLOATS = frozenset({np.dtype(np.float32), np.dtype(np.float16)})
NONE, ONE = ((0, 0), (0, 0)), ((1, 1), (1, 1))

ON_A_PIXEL = (
    "a convolution on a single pixel: LiteRT's sparse path then gives wrong results or does "
    "not load"
)

Pads = tuple[tuple[int, int], tuple[int, int]]
"""Zeros before and after, by rows and by columns."""


class Rewrite(StrEnum):
    """An equal graph without an obstacle."""

    POOL_TO_MEAN = "pool-to-mean"
    CLASSIFIER_TO_DENSE = "classifier-to-dense"
    EXPLICIT_PADDING = "explicit-padding"
    SHIFTED_STEM = "shifted-stem"
    """Not equal at the first row and column: on request only."""


class Role(StrEnum):
    """What an operator can be for the sparse kernels."""

    HEAD = "head"
    """Turns the order of axes."""
    BODY = "body"
    TAIL = "tail"
    """Turns it back."""
    PAD = "pad"
    """Becomes one with the convolution behind it."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One operator in the way.

    Attributes:
        operator: Its index.
        rewrite: What takes it out of the way; ``None``: nothing that we know.
    """

    operator: int
    kind: str
    reason: str
    rewrite: Rewrite | None = None


class _BlockedError(Exception):
    """The operator has no sparse partner, for this reason."""

    def __init__(self, reason: str, rewrite: Rewrite | None = None) -> None:
        super().__init__(reason)
        self.rewrite = rewrite


def role_of(graph: Graph, operator: Operator) -> Role | Obstacle:
    """Say what an operator can be, or why it cannot."""
    rule = _four_axes if operator.kind in UNARY else _RULES.get(operator.kind, _unknown)
    try:
        _check_types(graph, operator)
        return rule(graph, operator)
    except _BlockedError as blocked:
        return Obstacle(operator.index, operator.kind, str(blocked), blocked.rewrite)


def is_pointwise(graph: Graph, operator: Operator) -> bool:
    """Whether this is a 1x1 convolution, in steps of one, that has a sparse partner."""
    weights = weights_of(graph, operator) if operator.kind == "CONV_2D" else None
    if weights is None or weights.shape[1:3] != (1, 1):
        return False
    return role_of(graph, operator) is Role.BODY


def is_whole_image_pool(graph: Graph, operator: Operator) -> bool:
    """Whether an average pool takes the mean of the whole image."""
    data, output = (graph.tensors[k[0]].shape for k in (operator.inputs, operator.outputs))
    options = operator.options
    covers = data[1:3] == (options.filterHeight, options.filterWidth)
    return covers and output[1:3] == (1, 1) and not options.fusedActivationFunction


def padding(graph: Graph, operator: Operator) -> Pads | None:
    """Give the zeros around a convolution's input, those of a PAD before it included.

    Returns:
        ``None``: the padding is not of rows and columns only, or not constant.
    """
    weights, options = weights_of(graph, operator), operator.options
    if weights is None:
        return None
    shape, pad = graph.tensors[operator.inputs[0]].shape, pad_before(graph, operator)
    amounts = np.zeros((4, 2), int) if pad is None else graph.values(pad.inputs[1])
    if amounts is None or amounts.shape != (4, 2) or amounts[[0, 3]].any():
        return None
    found = []
    for axis, stride in ((1, options.strideH), (2, options.strideW)):
        before = after = 0
        if options.padding == SAME:
            span, size = weights.shape[axis], shape[axis]
            before = padding_before(size, span, stride)
            after = max((-(-size // stride) - 1) * stride + span - size, 0) - before
        found.append((before + int(amounts[axis, 0]), after + int(amounts[axis, 1])))
    return found[0], found[1]


def pad_before(graph: Graph, operator: Operator) -> Operator | None:
    """Give the PAD that only this operator reads."""
    maker = graph.maker(operator.inputs[0])
    if maker is None or maker.kind != "PAD" or operator.inputs[0] in graph.outputs:
        return None
    return maker if graph.users(maker.outputs[0]) == (operator.index,) else None


def _check_types(graph: Graph, operator: Operator) -> None:
    touched = (graph.tensors[k] for k in (*operator.inputs, *operator.outputs) if k >= 0)
    if any(each.dtype not in {*FLOATS, np.dtype(np.int32)} for each in touched):
        raise _BlockedError("not float: only float has sparse kernels")


def _unknown(_graph: Graph, _operator: Operator) -> Role:
    raise _BlockedError("has no sparse partner")


def _four_axes(graph: Graph, operator: Operator) -> Role:
    if len(graph.tensors[operator.inputs[0]].shape) != IMAGE_AXES:
        raise _BlockedError("not on an image")
    return Role.BODY


def _elementwise(graph: Graph, operator: Operator) -> Role:
    for index in operator.inputs:
        tensor = graph.tensors[index]
        if len(tensor.shape) != IMAGE_AXES:
            raise _BlockedError("not on an image")
        if tensor.is_constant and sum(size != 1 for size in tensor.shape) > 1:
            raise _BlockedError("its constant varies on several axes")
    return Role.BODY


def _checked_weights(graph: Graph, operator: Operator) -> Array:
    weights, options = weights_of(graph, operator), operator.options
    if weights is None:
        raise _BlockedError("its weights are computed or cannot be read")
    if weights.shape[-1] != graph.tensors[operator.inputs[0]].shape[-1]:
        raise _BlockedError("works by channel groups, or makes several channels of one")
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1):
        raise _BlockedError("is dilated")
    return weights


def _convolution(graph: Graph, operator: Operator) -> Role:
    weights, options = _checked_weights(graph, operator), operator.options
    data = graph.tensors[operator.inputs[0]].shape
    kernel, stride = weights.shape[1:3], (options.strideH, options.strideW)
    if kernel == data[1:3] == (1, 1):
        raise _BlockedError(ON_A_PIXEL, Rewrite.CLASSIFIER_TO_DENSE)
    pads = padding(graph, operator)
    if kernel == (1, 1):
        if pads != NONE or stride != (1, 1):
            raise _BlockedError("a 1x1 convolution with steps or padding")
        return Role.BODY
    if kernel != (SMALL, SMALL) or stride != (2, 2) or data[-1] != COLOURS:
        size = "x".join(map(str, kernel))
        raise _BlockedError(
            f"a {size} convolution that is no stem: 3x3, steps of 2, 3 channels"
        )
    if options.padding == SAME or pads != ONE:
        way = Rewrite.EXPLICIT_PADDING if pads == ONE else Rewrite.SHIFTED_STEM
        raise _BlockedError("a stem that is not padded by 1 on every side, explicitly", way)
    return Role.HEAD


def _depthwise(graph: Graph, operator: Operator) -> Role:
    weights, options = _checked_weights(graph, operator), operator.options
    size, stride = weights.shape[1], options.strideH
    is_square = weights.shape[1] == weights.shape[2] and stride == options.strideW
    if not is_square or size not in {SMALL, LARGE} or stride not in {1, 2}:
        raise _BlockedError("not 3x3 or 5x5 in steps of 1 or 2")
    pads, half = padding(graph, operator), size // 2
    is_centred = pads == ((half, half), (half, half))
    if is_centred and (stride == 1 or options.padding != SAME):
        return Role.BODY
    can_pad = pads is not None and stride != 1 and (is_centred or size == SMALL)
    raise _BlockedError(
        f"not padded by {half} on every side, explicitly",
        Rewrite.EXPLICIT_PADDING if can_pad else None,
    )


def _pad(graph: Graph, operator: Operator) -> Role:
    for index in graph.users(operator.outputs[0]):
        user = graph.operators[index]
        if user.kind in CONVOLUTIONS and pad_before(graph, user) is operator:
            return Role.PAD
    raise _BlockedError("does not pad a convolution")


def _mean(graph: Graph, operator: Operator) -> Role:
    axes, data = graph.values(operator.inputs[1]), graph.tensors[operator.inputs[0]].shape
    if axes is None or len(data) != IMAGE_AXES:
        raise _BlockedError("not on an image")
    if sorted(int(axis) % IMAGE_AXES for axis in np.ravel(axes)) != [1, 2]:
        raise _BlockedError("not over rows and columns")
    return Role.TAIL


def _average_pool(graph: Graph, operator: Operator) -> Role:
    way = Rewrite.POOL_TO_MEAN if is_whole_image_pool(graph, operator) else None
    raise _BlockedError("pools; only a mean has a sparse partner", way)


def _resize(graph: Graph, operator: Operator) -> Role:
    if min(graph.tensors[operator.inputs[0]].shape[1:3]) <= 1:
        raise _BlockedError("on a single row or column")
    return Role.BODY


_RULES: dict[str, Callable[[Graph, Operator], Role]] = {
    "ADD": _elementwise,
    "AVERAGE_POOL_2D": _average_pool,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEPTH_TO_SPACE": lambda _graph, _operator: Role.TAIL,
    "MEAN": _mean,
    "MUL": _elementwise,
    "PAD": _pad,
    "RESIZE_BILINEAR": _resize,
}
