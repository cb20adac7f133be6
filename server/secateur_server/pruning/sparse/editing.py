"""Small edits of an object tree that keep every other number in it as it was."""

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur_server.pruning.flatbuffer import Tree

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
}


def operator_code(tree: Tree, kind: str, version: int = 1) -> int:
    """Give the number of an operator's code, added where the file has none yet."""
    code = getattr(schema.BuiltinOperator, kind)
    for index, each in enumerate(tree.operatorCodes):
        if max(each.builtinCode, each.deprecatedBuiltinCode) == code and not each.customCode:
            each.version = max(each.version, version)
            return index
    added = schema.OperatorCodeT()
    added.builtinCode, added.deprecatedBuiltinCode = code, min(code, 127)
    added.version = version
    tree.operatorCodes.append(added)
    return len(tree.operatorCodes) - 1


def operator(
    tree: Tree,
    kind: str,
    inputs: list[int],
    outputs: list[int],
    options: Any = None,  # noqa: ANN401 - generated objects have no types
    version: int = 1,
) -> Tree:
    """Make an operator; the caller puts it in its place."""
    made = schema.OperatorT()
    made.opcodeIndex = operator_code(tree, kind, version)
    made.inputs, made.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    made.builtinOptions = options
    if options is not None:
        name = type(options).__name__.removesuffix("T")
        made.builtinOptionsType = getattr(schema.BuiltinOptions, name)
    return made


def add_tensor(
    tree: Tree, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32
) -> int:
    """Add a tensor that an operator computes, and give its number."""
    made = schema.TensorT()
    made.name, made.shape = name.encode(), np.array(shape, np.int32)
    made.type, made.buffer = _TYPES[np.dtype(dtype)], 0
    tree.subgraphs[0].tensors.append(made)
    return len(tree.subgraphs[0].tensors) - 1


def add_constant(tree: Tree, name: str, values: npt.NDArray[Any]) -> int:
    """Add a constant, and give its tensor's number."""
    index = add_tensor(tree, name, values.shape, values.dtype)
    tree.subgraphs[0].tensors[index].buffer = add_buffer(tree, values)
    return index


def add_buffer(tree: Tree, values: npt.NDArray[Any]) -> int:
    """Add a buffer, and give its number."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    tree.buffers.append(buffer)
    return len(tree.buffers) - 1


def drop_buffer(tree: Tree, number: int) -> None:
    """Empty a buffer that no tensor uses any more."""
    tensors = (each for graph in tree.subgraphs for each in graph.tensors)
    if number and all(each.buffer != number for each in (*tensors, *(tree.metadata or ()))):
        tree.buffers[number].data = None


def drop_unused_buffers(tree: Tree) -> None:
    """Empty all buffers that nothing uses any more."""
    held = {each.buffer for graph in tree.subgraphs for each in graph.tensors}
    held.update(int(each.buffer) for each in tree.metadata or ())
    for index, buffer in enumerate(tree.buffers):
        if index not in held:
            buffer.data = None
