"""Operators that keep channels where they are, one by one or within each."""

import numpy as np

from secateur_server.pruning.channels import CannotFollowError, Flow, Rule
from secateur_server.pruning.graph import Operator

UNARY = (
    "ABS",
    "CAST",
    "CEIL",
    "COS",
    "DEQUANTIZE",
    "ELU",
    "EXP",
    "FLOOR",
    "GELU",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOG",
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

BINARY = (
    "ADD",
    "DIV",
    "FLOOR_DIV",
    "FLOOR_MOD",
    "MAXIMUM",
    "MINIMUM",
    "MUL",
    "POW",
    "PRELU",
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


def binary(flow: Flow, operator: Operator) -> None:
    """Two operands, broadcast as numpy does; where both have channels these are tied."""
    output = operator.outputs[0]
    for operand in operator.inputs[:2]:
        for axis in range(-1, -flow.rank(operand) - 1, -1):
            size = flow.shape(operand)[axis]
            if size > 1 and size != flow.shape(output)[axis]:
                raise CannotFollowError("its operands do not broadcast")
    for axis in range(-1, -flow.rank(output) - 1, -1):
        full = [
            operand
            for operand in operator.inputs[:2]
            if -axis <= flow.rank(operand) and flow.shape(operand)[axis] > 1
        ]
        computed = [k for k in full if not flow.graph.tensors[k].is_constant]
        for operand in computed:
            flow.bind(output, axis, flow.ids(operand, axis))
        if computed:
            for operand in set(full) - set(computed):
                flow.bind(operand, axis, flow.ids(output, axis))


def spatial(flow: Flow, operator: Operator) -> None:
    """Whatever happens, it happens within each channel of the last axis."""
    source, output = operator.inputs[0], operator.outputs[0]
    if flow.rank(source) != 4:  # noqa: PLR2004 - batch, height, width, channels
        raise CannotFollowError("not four axes")
    flow.bind(output, -1, flow.ids(source, -1))


def l2_normalization(flow: Flow, operator: Operator) -> None:
    """The norm is over the channels: one that is zero adds nothing, and so may leave."""
    flow.bind(operator.outputs[0], -1, flow.ids(operator.inputs[0], -1))


def reduce(flow: Flow, operator: Operator) -> None:
    """Over axes without channels; over channels it would mix them."""
    source, output = operator.inputs[0], operator.outputs[0]
    axes = flow.graph.values(operator.inputs[1])
    if axes is None:
        raise CannotFollowError("its axes are computed")
    rank = flow.rank(source)
    reduced = {int(axis) % rank for axis in np.ravel(axes)}
    position = 0
    for axis in range(rank):
        ids = flow.ids(source, axis)
        if axis in reduced:
            if ids.any():
                raise CannotFollowError("it mixes channels")
            position += int(bool(operator.options.keepDims))
        else:
            flow.bind(output, position, ids)
            position += 1


def mixing(_flow: Flow, _operator: Operator) -> None:
    """It mixes the channels: they cannot leave."""
    raise CannotFollowError("it mixes channels")


RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys(SPATIAL, spatial),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), reduce),
    "L2_NORMALIZATION": l2_normalization,
    "SOFTMAX": mixing,
    "LOG_SOFTMAX": mixing,
}
