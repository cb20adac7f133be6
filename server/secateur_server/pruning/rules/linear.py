"""Operators with weights: channels begin at their outputs and end at their inputs."""

import numpy as np

from secateur_server.pruning.flow import CannotFollowError, Flow, Rule
from secateur_server.pruning.graph import Operator
from secateur_server.pruning.linear import layout


def conv_2d(flow: Flow, operator: Operator) -> None:
    """Weights [out, h, w, in]; with fewer ``in`` than the input has, groups share them."""
    weights = _weights(flow, operator)
    data = operator.inputs[layout(operator).data]
    if flow.shape(data)[-1] != flow.shape(weights)[-1]:
        raise CannotFollowError("a grouped convolution")
    flow.bind(weights, -1, flow.ids(data, -1))
    _outputs(flow, operator, weights, axis=0)


def transpose_conv(flow: Flow, operator: Operator) -> None:
    """The same, where the shape that comes out is an input and must be written anew."""
    conv_2d(flow, operator)
    if not flow.graph.states_axis(operator.inputs[0], -1):
        flow.freeze(operator.outputs[0], "its shape is computed")


def depthwise(flow: Flow, operator: Operator) -> None:
    """Weights [1, h, w, in x multiplier]; output channel k comes from k // multiplier."""
    weights, output = _weights(flow, operator), operator.outputs[0]
    ids = flow.ids(operator.inputs[0], -1)
    multiplier, rest = divmod(flow.shape(weights)[-1], len(ids))
    if rest or multiplier != operator.options.depthMultiplier:
        raise CannotFollowError("its multiplier does not match its weights")
    if len(ids) == 1 and multiplier > 1:
        _outputs(flow, operator, weights, axis=-1)  # any multiplier does
        return
    repeated = np.repeat(ids, multiplier)
    flow.bind(weights, -1, repeated)
    flow.bind(output, -1, repeated)
    _bias(flow, operator)


def fully_connected(flow: Flow, operator: Operator) -> None:
    """Weights [out, in]; an input of more axes is flattened first."""
    weights, data = _weights(flow, operator), operator.inputs[0]
    if operator.options.weightsFormat:
        raise CannotFollowError("its weights are shuffled")
    features = flow.shape(weights)[1]
    if flow.shape(data)[-1] == features:
        flow.bind(weights, 1, flow.ids(data, -1))
    else:
        lifted = flow.lift(data).reshape(-1, features)
        if (lifted != lifted[0]).any():
            raise CannotFollowError("its rows hold different channels")
        flow.bind(weights, 1, lifted[0])
    _outputs(flow, operator, weights, axis=0)


def batch_matmul(flow: Flow, operator: Operator) -> None:
    """Rows of one matrix times columns of another; what both lose in between is dropped."""
    left, right = operator.inputs[:2]
    inner, outer = (-1, -2) if operator.options.adjY else (-2, -1)
    rows, shared = (-1, -2) if operator.options.adjX else (-2, -1)
    if flow.graph.tensors[right].values is None:
        flow.units.tie(flow.ids(left, shared), flow.ids(right, inner))
        flow.bind(operator.outputs[0], -2, flow.ids(left, rows))
        flow.bind(operator.outputs[0], -1, flow.ids(right, outer))
        return
    weights = _weights(flow, operator)
    if operator.options.adjX or any(size > 1 for size in flow.shape(weights)[:-2]):
        raise CannotFollowError("a batch of constant matrices")
    flow.bind(weights, inner, flow.ids(left, shared))
    _outputs(flow, operator, weights, axis=outer)


def _weights(flow: Flow, operator: Operator) -> int:
    index = operator.inputs[layout(operator).weights]
    tensor = flow.graph.tensors[index]
    if tensor.values is None:
        what = "sparse or of a type that cannot be edited" if tensor.is_opaque else "computed"
        raise CannotFollowError(f"its weights are {what}")
    return index


def _outputs(flow: Flow, operator: Operator, weights: int, axis: int) -> None:
    flow.bind(weights, axis, flow.make(operator.outputs[0], -1))
    _bias(flow, operator)


def _bias(flow: Flow, operator: Operator) -> None:
    slot = layout(operator).bias
    if 0 <= slot < len(operator.inputs) and operator.inputs[slot] >= 0:
        if flow.graph.tensors[operator.inputs[slot]].values is None:
            raise CannotFollowError("its bias is computed")
        flow.bind(operator.inputs[slot], 0, flow.ids(operator.outputs[0], -1))


RULES: dict[str, Rule] = {
    "CONV_2D": conv_2d,
    "TRANSPOSE_CONV": transpose_conv,
    "DEPTHWISE_CONV_2D": depthwise,
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": batch_matmul,
}
