"""Write a plan into a model's object tree."""

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur_server.pruning.flatbuffer import Tree
from secateur_server.pruning.graph import WEIGHTED, Array, Graph, Operator
from secateur_server.pruning.groups import Grouping
from secateur_server.pruning.reconstruction import Fitted, Kept, keep_features


def apply_channels(
    tree: Tree, graph: Graph, grouping: Grouping, kept: Kept, fitted: Fitted
) -> None:
    """Make the tensors of every pruned group smaller, in place."""
    subgraph = tree.subgraphs[0]
    for index in grouping.axes:
        stored = subgraph.tensors[index]
        if len(graph.tensors[index].shape):
            width = len(keep_features(grouping, kept, index))
            _set_shape(stored, width)
    for operator in graph.operators:
        if operator.kind in WEIGHTED:
            weights, bias = fitted.parameters[operator.index]
            _set_data(tree, operator.inputs[1], weights)
            if bias is not None:
                _set_bias(tree, operator, bias)
        elif operator.kind == "ADD":
            _slice_constants(tree, graph, grouping, kept, operator)
        elif operator.kind == "RESHAPE":
            _set_target_shape(tree, operator)


def apply_thresholds(tree: Tree, graph: Graph, thresholds: dict[int, float]) -> None:
    """Set every weight below its operator's threshold to zero, in place."""
    for index, threshold in thresholds.items():
        operator = graph.operators[index]
        weights = graph.weights(operator)
        zeroed = np.where(np.abs(weights) < threshold, np.float32(0), weights)
        _set_data(tree, operator.inputs[1], zeroed)


def _set_shape(stored: Tree, width: int) -> None:
    for name in ("shape", "shapeSignature"):
        shape = getattr(stored, name)
        if shape is not None and len(shape):
            setattr(stored, name, np.array([*shape[:-1], width], np.int32))


def _set_data(tree: Tree, tensor: int, values: npt.NDArray[Any]) -> None:
    """Give a constant other values, in a buffer of its own: buffers may be shared."""
    stored = tree.subgraphs[0].tensors[tensor]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    users = [
        each
        for graph in tree.subgraphs
        for each in graph.tensors
        if each.buffer == stored.buffer
    ]
    if len(users) == 1:
        tree.buffers[stored.buffer] = buffer
    else:
        tree.buffers.append(buffer)
        stored.buffer = len(tree.buffers) - 1
    stored.shape = np.array(values.shape, np.int32)


def _set_bias(tree: Tree, operator: Operator, bias: Array) -> None:
    """Give an operator a bias, a new tensor if it had none."""
    subgraph = tree.subgraphs[0]
    stored = subgraph.operators[operator.index]
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:  # noqa: PLR2004 - input, weights, bias
        _set_data(tree, operator.inputs[2], bias)
        return
    tensor = schema.TensorT()
    tensor.name = f"bias_of_{operator.index}".encode()
    tensor.type = schema.TensorType.FLOAT32
    tree.buffers.append(schema.BufferT())
    tensor.buffer = len(tree.buffers) - 1
    subgraph.tensors.append(tensor)
    _set_data(tree, len(subgraph.tensors) - 1, bias)
    inputs = [*operator.inputs[:2], len(subgraph.tensors) - 1]
    stored.inputs = np.array(inputs, np.int32)


def _slice_constants(
    tree: Tree,
    graph: Graph,
    grouping: Grouping,
    kept: Kept,
    operator: Operator,
) -> None:
    for index in operator.inputs:
        data = graph.tensors[index].data
        if index in grouping.axes or data is None or data.ndim == 0 or data.shape[-1] == 1:
            continue
        _set_data(tree, index, data[..., keep_features(grouping, kept, operator.outputs[0])])


def _set_target_shape(tree: Tree, operator: Operator) -> None:
    """Make a RESHAPE's target follow its output, with the batch axis as it was."""
    subgraph = tree.subgraphs[0]
    width = int(subgraph.tensors[operator.outputs[0]].shape[-1])
    options = subgraph.operators[operator.index].builtinOptions
    if options is not None and options.newShape is not None and len(options.newShape):
        options.newShape = _retarget(np.array(options.newShape, np.int32), width)
    if len(operator.inputs) > 1:
        stored = subgraph.tensors[operator.inputs[1]]
        raw = tree.buffers[stored.buffer].data
        if raw is not None and len(raw):
            target = np.frombuffer(np.asarray(raw, np.uint8).tobytes(), np.int32)
            _set_data(tree, operator.inputs[1], _retarget(target, width))


def _retarget(target: npt.NDArray[np.int32], width: int) -> npt.NDArray[np.int32]:
    changed = target.copy()
    if changed[-1] != -1:
        changed[-1] = width
    return changed
