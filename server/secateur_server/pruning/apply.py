"""Write a changed graph back into the object tree that it was read from."""

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur_server.pruning.flatbuffer import Tree
from secateur_server.pruning.graph import DTYPE, Graph, Tensor
from secateur_server.pruning.quantization import Quantization

_CODE = {dtype: code for code, dtype in DTYPE.items()}


def apply(tree: Tree, before: Graph, after: Graph) -> None:
    """Make an object tree hold what a graph has become, in place.

    Args:
        tree: What ``before`` was read from.
        before: As read.
        after: The same tensors and operators, by number, and perhaps more tensors.
    """
    subgraph = tree.subgraphs[0]
    for tensor in after.tensors[len(before.tensors) :]:
        subgraph.tensors.append(_new_tensor(tensor))
    for old, new in zip(before.tensors, after.tensors, strict=False):
        if new is not old:
            _set_shape(subgraph.tensors[new.index], old.shape, new.shape)
        if new.quantization is not old.quantization and new.storage == new.index:
            _set_quantization(subgraph.tensors[new.index], new.quantization)
    for new in _constants(after):
        if new.index >= len(before.tensors) or new is not before.tensors[new.index]:
            _set_constant(tree, new)
    for was, now in zip(before.operators, after.operators, strict=True):
        if now is not was:
            stored = subgraph.operators[now.index]
            stored.inputs = np.array(now.inputs, np.int32)
            stored.builtinOptions = now.options


def _constants(graph: Graph) -> list[Tensor]:
    """Give one tensor per stored constant: what operators read, not what stands before it."""
    held = {each.storage: each for each in graph.tensors if each.values is not None}
    folded = [each for each in graph.tensors if each.values is not None]
    held.update({each.storage: each for each in folded if each.storage != each.index})
    return list(held.values())


def _new_tensor(tensor: Tensor) -> Tree:
    stored = schema.TensorT()
    stored.name = tensor.name.encode()
    stored.shape = np.array(tensor.shape, np.int32)
    stored.buffer = 0
    is_sum = tensor.quantization is not None and tensor.dtype == np.float32
    stored.type = _CODE[np.dtype(np.int32) if is_sum else tensor.dtype or np.dtype(np.float32)]
    if tensor.quantization is not None:
        stored.quantization = schema.QuantizationParametersT()
    return stored


def _set_shape(stored: Tree, was: tuple[int, ...], now: tuple[int, ...]) -> None:
    """Change the axes that changed; a dynamic axis stays dynamic."""
    changed = [axis for axis, size in enumerate(now) if was[axis : axis + 1] != (size,)]
    for name in ("shape", "shapeSignature"):
        held = getattr(stored, name)
        if changed and held is not None and len(held) == len(now):
            sizes = np.array(held, np.int32)
            sizes[changed] = [now[axis] for axis in changed]
            setattr(stored, name, sizes)


def _set_constant(tree: Tree, tensor: Tensor) -> None:
    """Write a constant's values as its type in the file holds them."""
    stored = tree.subgraphs[0].tensors[tensor.storage]
    dtype = DTYPE[stored.type]
    codes: npt.NDArray[Any] = np.asarray(tensor.values)
    if tensor.quantization is not None and dtype.kind in "iu":
        codes = tensor.quantization.quantize(codes, dtype)
        _set_quantization(stored, tensor.quantization)
    buffer = schema.BufferT()
    content = np.ascontiguousarray(codes.astype(dtype)).tobytes()
    buffer.data = np.frombuffer(content, np.uint8)
    _set_buffer(tree, stored, buffer)


def _set_quantization(stored: Tree, quantization: Quantization | None) -> None:
    if quantization is None:
        return
    held = copy.copy(stored.quantization)
    held.scale = quantization.scales.astype(np.float32)
    held.zeroPoint = quantization.zero_points.astype(np.int64)
    held.quantizedDimension = quantization.axis
    held.min = held.max = None  # of the weights before; the engines do not read them
    stored.quantization = held


def _set_buffer(tree: Tree, stored: Tree, buffer: Tree) -> None:
    """Give a tensor a buffer of its own: equal constants may share one."""
    buffer.offset = tree.buffers[stored.buffer].offset  # outside stays outside
    users = sum(
        each.buffer == stored.buffer
        for holder in (*(graph.tensors for graph in tree.subgraphs), tree.metadata or ())
        for each in holder
    )
    if users == 1 and stored.buffer != 0:
        tree.buffers[stored.buffer] = buffer
    else:
        tree.buffers.append(buffer)
        stored.buffer = len(tree.buffers) - 1
