"""Blocks whose input can stand in for their output, and networks without them.

A block lies between two tensors of one shape; nothing enters or leaves it but through
these. A residual branch with its addition is one, and so is a convolution of stride 1 that
keeps the number of channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from secateur_server.pruning.flatbuffer import Source, Tree, write_model
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.linear import weights_of
from secateur_server.pruning.sparse.editing import drop_unused_buffers

TAKES_ANY_SCALE = frozenset(
    {
        "ADD",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "MEAN",
        "MUL",
        "SUB",
        "TRANSPOSE_CONV",
    }
)
"""Quantized operators that read their input's scale; others demand that of their output."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the network that may be taken out.

    Attributes:
        enters: The tensor that stands in.
        leaves: The tensor that is stood in for.
        operators: Indices of what is taken out.
    """

    enters: int
    leaves: int
    operators: tuple[int, ...]


def find_blocks(graph: Graph) -> list[Block]:
    """List the blocks that have weights, one for each tensor that a block can end at."""
    found = []
    makers = {made: operator.index for operator in graph.operators for made in operator.outputs}
    for leaves in makers:
        block = _smallest(graph, makers, leaves)
        if block is not None:
            found.append(block)
    return found


def _smallest(graph: Graph, makers: dict[int, int], leaves: int) -> Block | None:
    if leaves in graph.outputs or not graph.tensors[leaves].is_real:
        return None
    for enters in _ancestors(graph, makers, leaves):
        if not _can_stand_in(graph, enters, leaves):
            continue
        inside = _between(graph, makers, enters, leaves)
        if inside is not None and _is_closed(graph, inside, enters, leaves):
            return Block(enters, leaves, tuple(sorted(inside)))
    return None


def _ancestors(graph: Graph, makers: dict[int, int], tensor: int) -> list[int]:
    """List what a tensor is made from, the nearest first."""
    seen, queue = [tensor], [tensor]
    while queue:
        maker = makers.get(queue.pop(0))
        for source in graph.computed(graph.operators[maker]) if maker is not None else ():
            if source not in seen:
                seen.append(source)
                queue.append(source)
    return sorted(seen[1:], key=lambda each: -makers.get(each, -1))


def _can_stand_in(graph: Graph, enters: int, leaves: int) -> bool:
    one, other = graph.tensors[enters], graph.tensors[leaves]
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.quantization is None:
        return other.quantization is None
    return other.quantization is not None and all(
        graph.operators[user].kind in TAKES_ANY_SCALE for user in graph.users(leaves)
    )


def _between(graph: Graph, makers: dict[int, int], enters: int, leaves: int) -> set[int] | None:
    """Collect the operators between two tensors; ``None``: something else enters."""
    inside: set[int] = set()
    queue = [leaves]
    while queue:
        tensor = queue.pop()
        if tensor == enters:
            continue
        maker = makers.get(tensor)
        if maker is None:
            return None
        if maker not in inside:
            inside.add(maker)
            queue.extend(graph.computed(graph.operators[maker]))
    return inside


def _is_closed(graph: Graph, inside: set[int], enters: int, leaves: int) -> bool:
    """Whether nothing outside reads what is inside, and there is something to gain."""
    made = {output for index in inside for output in graph.operators[index].outputs}
    if made & set(graph.outputs) or enters in made:
        return False
    is_read = any(
        set(operator.inputs) & (made - {leaves})
        for operator in graph.operators
        if operator.index not in inside
    )
    has_weights = any(weights_of(graph, graph.operators[k]) is not None for k in inside)
    return has_weights and not is_read


def without(source: Source, blocks: Iterable[Block]) -> Source:
    """Take blocks out of a file.

    Args:
        source: The file.
        blocks: None of which share an operator.

    Returns:
        The shorter file; tensors keep their numbers, those that nothing needs lose their
        contents.
    """
    tree = source.tree()
    subgraph = tree.subgraphs[0]
    gone: set[int] = set()
    for block in blocks:
        gone.update(block.operators)
        for operator in subgraph.operators:
            inputs = np.array(operator.inputs)
            operator.inputs = np.where(inputs == block.leaves, block.enters, inputs)
    subgraph.operators = [
        each for index, each in enumerate(subgraph.operators) if index not in gone
    ]
    _let_go(tree)
    return replace(source, content=write_model(tree))


def _let_go(tree: Tree) -> None:
    """Empty the buffers of tensors that nothing in the main subgraph reads any more."""
    subgraph = tree.subgraphs[0]
    used = {int(k) for each in subgraph.operators for k in (*each.inputs, *each.outputs)}
    used.update(map(int, (*subgraph.inputs, *subgraph.outputs)))
    for index, tensor in enumerate(subgraph.tensors):
        if index not in used and not tensor.isVariable:
            tensor.buffer = 0
    drop_unused_buffers(tree)
