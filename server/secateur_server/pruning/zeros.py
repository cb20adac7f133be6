"""What zeros among the weights would do for a model, before it is pruned."""

import numpy as np

from secateur_server.pruning.apply import apply
from secateur_server.pruning.candidates import travel_bytes
from secateur_server.pruning.facts import SparseKernels, Travel
from secateur_server.pruning.flatbuffer import Source, write_model
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.linear import layout, weights_of
from secateur_server.pruning.sparse.eligibility import assess
from secateur_server.pruning.sparse.storage import store_sparsely

SPARSITY = 0.5
"""Share of zeros at which the size of the file as it travels is tried: most networks bear
it."""


def sparse_kernels(graph: Graph) -> SparseKernels:
    """Say whether kernels that skip zeros would take a graph, and what is in the way."""
    found = assess(graph)
    told = tuple(f"{each.kind} #{each.operator}: {each.reason}" for each in found.obstacles)
    is_rewritable = bool(found.pointwise) and all(each.rewrite for each in found.obstacles)
    return SparseKernels(obstacles=told, is_rewritable=is_rewritable)


def travel(given: Source, source: Source, graph: Graph) -> Travel:
    """Compress the file, and what it would be with the smallest weights at zero.

    Args:
        given: The file as it is.
        source: The same, no weights stored sparsely: what ``graph`` is of.
        graph: The network.
    """
    zeroed, zeros, count = graph, 0, 0
    for operator in graph.operators:
        weights = weights_of(graph, operator)
        if weights is None:
            continue
        zeros, count = zeros + int((weights == 0).sum()), count + weights.size
        tensor = graph.tensors[operator.inputs[layout(operator).weights]]
        least = np.quantile(np.abs(weights), SPARSITY)
        smaller = np.where(np.abs(weights) < least, np.float32(0), weights)
        zeroed = zeroed.with_values(tensor.index, smaller, tensor.quantization)
    tree = source.tree()
    apply(tree, graph, zeroed)
    compressed = travel_bytes(write_model(tree))
    store_sparsely(tree)
    return Travel(
        bytes=travel_bytes(given.content),
        zeros=zeros / max(count, 1),
        sparsity=SPARSITY,
        zeroed_bytes=compressed,
        sparse_bytes=len(write_model(tree)),
    )
