"""Small steps that tests of the pruner share: bytes to tree, layers, zeros."""

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from secateur_server.pruning.apply import apply
from secateur_server.pruning.flatbuffer import Tree, write_model
from secateur_server.pruning.graph import Graph, read_graph
from secateur_server.pruning.weight.choice import Scope, least_missed, magnitude_scores
from secateur_server.pruning.weight.correction import zeroed
from secateur_server.pruning.weight.layer import find_layers


def tree_of(content: bytes) -> Tree:
    """Parse a model."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def graph_of(content: bytes) -> Graph:
    """Read a model."""
    return read_graph(tree_of(content))


def packed(content: bytes, before: Graph, after: Graph) -> bytes:
    """Write what a model's graph has become."""
    tree = tree_of(content)
    apply(tree, before, after)
    return write_model(tree)


def sparse_twin(content: bytes, sparsity: float, kinds: Any = None) -> bytes:  # noqa: ANN401
    """Zero the smallest weights of each layer, of some kinds of operators only."""
    graph = graph_of(content)
    layers = [
        each for each in find_layers(graph) if kinds is None or each.operator.kind in kinds
    ]
    keeps = least_missed(magnitude_scores(layers, Scope.LAYER), sparsity, Scope.LAYER)
    return packed(content, graph, zeroed(graph, layers, keeps))
