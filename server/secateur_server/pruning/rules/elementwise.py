"""Operators that keep channels where they are, one by one or within each."""

import numpy as np

from secateur_server.pruning.flow import CannotFollowError, Flow, Rule
from secateur_server.pruning.graph import Operator

UNARY = (
    "ABS",
    "CAST",
    "CEIL",
    "COS",
    "DEQUANTIZE",
    "ELU",
    "EXP",
    "FAKE_QUANT",
    "FLOOR",
    "GELU",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOG",
    "LOGICAL_NOT",
    "LOGISTIC",
    "NEG",
    "QUANTIZE",
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "RELU_N1_TO_1",
    "ROUND",
    "RSQRT",
    "SIGN",
    "SIN",
    "SQRT",
    "SQUARE",
    "TANH",
    "ZEROS_LIKE",
)

BROADCAST = (
    "ADD",
    "ADD_N",
    "ATAN2",
    "DIV",
    "EQUAL",
    "FLOOR_DIV",
    "FLOOR_MOD",
    "GREATER",
    "GREATER_EQUAL",
    "LESS",
    "LESS_EQUAL",
    "LOGICAL_AND",
    "LOGICAL_OR",
    "MAXIMUM",
    "MINIMUM",
    "MUL",
    "NOT_EQUAL",
    "POW",
    "PRELU",
    "SELECT_V2",
    "SQUARED_DIFFERENCE",
    "SUB",
)

SPATIAL = (
    "AVERAGE_POOL_2D",
    "L2_POOL_2D",
    "MAX_POOL_2D",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "BATCH_TO_SPACE_ND",
    "SPACE_TO_BATCH_ND",
)
"""What changes height, width or batch, but leaves the last axis."""


def unary(flow: Flow, operator: Operator) -> None:
    """Every element alone."""
    source, output = operator.inputs[0], operator.outputs[0]
    if flow.graph.tensors[output].is_constant:
        return  # a folded DEQUANTIZE
    if flow.shape(source) != flow.shape(output):
        raise CannotFollowError("its output has another shape")
    for axis in range(flow.rank(source)):
        flow.bind(output, axis, flow.ids(source, axis))


def broadcast(flow: Flow, operator: Operator) -> None:
    """Operands broadcast as numpy does; where several have channels these are tied."""
    output = operator.outputs[0]
    for operand in operator.inputs:
        _check_broadcast(flow, operand, output)
    for axis in range(-1, -flow.rank(output) - 1, -1):
        full = [
            operand
            for operand in operator.inputs
            if -axis <= flow.rank(operand) and flow.shape(operand)[axis] > 1
        ]
        computed = [k for k in full if not flow.graph.tensors[k].is_constant]
        for operand in computed:
            flow.bind(output, axis, flow.ids(operand, axis))
        if computed:
            for operand in set(full) - set(computed):
                flow.bind(operand, axis, flow.ids(output, axis))


def _check_broadcast(flow: Flow, operand: int, output: int) -> None:
    given, wanted = flow.shape(operand), flow.shape(output)
    pairs = zip(reversed(given), reversed(wanted), strict=False)
    if len(given) > len(wanted) or any(size not in {1, full} for size, full in pairs):
        raise CannotFollowError("its operands do not broadcast")


def spatial(flow: Flow, operator: Operator) -> None:
    """Whatever happens, it happens within each channel of the last axis."""
    source, output = operator.inputs[0], operator.outputs[0]
    if flow.rank(source) < 3:  # noqa: PLR2004 - batch, one of space, channels
        raise CannotFollowError("no axis of space")
    flow.bind(output, -1, flow.ids(source, -1))


def l2_normalization(flow: Flow, operator: Operator) -> None:
    """The norm is over the channels: one that is zero adds nothing, and so may leave."""
    flow.bind(operator.outputs[0], -1, flow.ids(operator.inputs[0], -1))


def reduce(flow: Flow, operator: Operator) -> None:
    """Channels pass; over those along an axis that goes, it is taken of those that stay."""
    source, output = operator.inputs[0], operator.outputs[0]
    axes = flow.graph.values(operator.inputs[1])
    if axes is None:
        raise CannotFollowError("its axes are computed")
    rank = flow.rank(source)
    reduced = {int(axis) % rank for axis in np.ravel(axes)}
    position = 0
    for axis in range(rank):
        ids = flow.ids(source, axis)
        if axis not in reduced:
            flow.bind(output, position, ids)
        position += int(axis not in reduced or bool(operator.options.keepDims))


def softmax(flow: Flow, operator: Operator) -> None:
    """Channels along the last axis stay, as it mixes them."""
    source, output = operator.inputs[0], operator.outputs[0]
    flow.units.hold(flow.ids(source, -1), f"{operator.kind} #{operator.index} mixes them")
    for axis in range(flow.rank(source) - 1):
        flow.bind(output, axis, flow.ids(source, axis))


RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BROADCAST, broadcast),
    **dict.fromkeys(SPATIAL, spatial),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), reduce),
    "L2_NORMALIZATION": l2_normalization,
    "SOFTMAX": softmax,
    "LOG_SOFTMAX": softmax,
}
