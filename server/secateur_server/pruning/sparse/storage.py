"""Store the weights of a model sparsely where that makes the file smaller, and undo it.

A sparse constant is followed by a DENSIFY operator that gives what the operators read. No
operator reads a sparse constant itself: the engine's own kernels for that are slower than
the dense ones of XNNPACK.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur_protocols.manifest import Encoding
from secateur_server.pruning.flatbuffer import Source, Tree, write_model
from secateur_server.pruning.graph import DTYPE, Graph, Operator, Tensor, read_graph
from secateur_server.pruning.linear import WEIGHTED, layout
from secateur_server.pruning.sparse.editing import add_buffer, drop_buffer, operator
from secateur_server.pruning.sparse.eligibility import may_go_wrong
from secateur_server.pruning.sparse.encoding import decode, encode, encoded_bytes

DENSIFIED = {np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int8)}
"""Types that the engines' DENSIFY takes."""

DENSE_INT8 = frozenset({"FULLY_CONNECTED", "BATCH_MATMUL"})
"""Operators that do not take int8 weights from a DENSIFY: LiteRT 2.3 fails to allocate. So
does every operator that computes in float with int8 weights."""

Wanted = Callable[[Tensor], bool]


def sparse_candidates(tree: Tree) -> Iterator[Tensor]:
    """Give the weights that may be stored sparsely; none of a model that may go wrong."""
    graph = read_graph(tree)
    if may_go_wrong(graph):
        return
    seen = set()
    for each in graph.operators:
        slot = layout(each).weights
        if each.kind not in WEIGHTED or slot >= len(each.inputs) or each.inputs[slot] < 0:
            continue
        tensor = graph.tensors[graph.tensors[each.inputs[slot]].storage]
        if tensor.index not in seen and _may_be_sparse(tree, graph, tensor):
            yield tensor
        seen.add(tensor.index)


def _may_be_sparse(tree: Tree, graph: Graph, tensor: Tensor) -> bool:
    if tensor.values is None or tensor.dtype not in DENSIFIED or len(tensor.shape) < 2:  # noqa: PLR2004
        return False
    if tensor.quantization is not None and tensor.quantization.zero_points.any():
        return False  # a DENSIFY fills in the code 0, which would not be zero
    if tensor.index in (*graph.inputs, *graph.outputs):
        return False
    if tensor.dtype == np.int8 and not all(
        _takes_int8(graph, graph.operators[user]) for user in graph.users(tensor.index)
    ):
        return False
    buffer = tree.subgraphs[0].tensors[tensor.index].buffer
    users = sum(each.buffer == buffer for other in tree.subgraphs for each in other.tensors)
    return bool(users == 1)


def _takes_int8(graph: Graph, user: Operator) -> bool:
    data = graph.tensors[user.inputs[layout(user).data]]
    return user.kind in WEIGHTED - DENSE_INT8 and data.dtype == np.int8


def pays(tree: Tree, tensor: Tensor) -> bool:
    """Whether a constant is smaller when it is stored sparsely."""
    codes = stored_codes(tree, tensor)
    return encoded_bytes(codes) < codes.nbytes


def stored_codes(tree: Tree, tensor: Tensor) -> npt.NDArray[Any]:
    """Give a constant as the file holds it."""
    held = tree.subgraphs[0].tensors[tensor.index]
    raw = np.asarray(tree.buffers[held.buffer].data, np.uint8).tobytes()
    return np.frombuffer(raw, DTYPE[held.type]).reshape(tensor.shape)


def store_sparsely(tree: Tree, wanted: Wanted | None = None) -> int:
    """Store weights sparsely, in place.

    Args:
        tree: The model; nothing else of it changes.
        wanted: Which of the candidates; left out: those that get smaller by it.

    Returns:
        How many tensors are stored sparsely now that were not before.
    """
    subgraph, added = tree.subgraphs[0], []
    for tensor in list(sparse_candidates(tree)):
        if not (pays(tree, tensor) if wanted is None else wanted(tensor)):
            continue
        codes, dense = stored_codes(tree, tensor), subgraph.tensors[tensor.index]
        sparse = schema.TensorT()
        sparse.name = (dense.name or b"weights") + b"/sparse"
        sparse.shape, sparse.type = dense.shape, dense.type
        sparse.quantization = dense.quantization
        sparse.sparsity, values = encode(codes)
        sparse.buffer = add_buffer(tree, values)
        before, dense.buffer = dense.buffer, 0
        drop_buffer(tree, before)
        subgraph.tensors.append(sparse)
        number = len(subgraph.tensors) - 1
        options = schema.DensifyOptionsT()
        added.append(operator(tree, "DENSIFY", [number], [tensor.index], options))
    subgraph.operators = [*added, *subgraph.operators]
    return len(added)


def densified(source: Source) -> tuple[Source, Encoding]:
    """Give a model with all its weights in the open, and say how it stored them.

    Where nothing was stored sparsely this is the model itself.
    """
    tree = source.tree()
    if not store_densely(tree):
        return source, Encoding.DENSE
    return replace(source, content=write_model(tree)), Encoding.SPARSE


def store_densely(tree: Tree) -> int:
    """Undo `store_sparsely`, in place, for whatever DENSIFY it can decode.

    Returns:
        How many tensors are stored densely now that were not before.
    """
    subgraph, kept, undone = tree.subgraphs[0], [], 0
    for each in subgraph.operators or ():
        code = tree.operatorCodes[each.opcodeIndex]
        is_densify = max(code.builtinCode, code.deprecatedBuiltinCode) == (
            schema.BuiltinOperator.DENSIFY
        )
        if is_densify and _unpack(tree, int(each.inputs[0]), int(each.outputs[0])):
            undone += 1
        else:
            kept.append(each)
    subgraph.operators = kept
    return undone


def _unpack(tree: Tree, source: int, target: int) -> bool:
    sparse, dense = (tree.subgraphs[0].tensors[k] for k in (source, target))
    data, dtype = tree.buffers[sparse.buffer].data, DTYPE.get(sparse.type)
    if sparse.sparsity is None or dtype is None or sparse.shape is None:
        return False
    try:
        raw = b"" if data is None else np.asarray(data, np.uint8).tobytes()
        shape = tuple(int(size) for size in sparse.shape)
        values = decode(sparse.sparsity, np.frombuffer(raw, dtype), shape)
    except ValueError:
        return False
    dense.buffer = add_buffer(tree, values)
    before, sparse.buffer, sparse.sparsity = sparse.buffer, 0, None
    drop_buffer(tree, before)
    return True
