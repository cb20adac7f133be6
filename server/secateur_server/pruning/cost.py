"""What a model costs, from its graph alone."""

import numpy as np

from secateur_server.pruning.graph import Graph, Operator
from secateur_server.pruning.linear import WEIGHTED, layout, weights_of


def macs(graph: Graph, operator: Operator) -> int:
    """Count the multiply-accumulates of one operator for one inference.

    Those of weights that are stored sparsely count too, zeros included: a kernel that leaves
    them out is the engine's choice.
    """
    size = _weights_size(graph, operator)
    if not size:
        return 0
    data = graph.tensors[operator.inputs[layout(operator).data]].shape
    output = graph.tensors[operator.outputs[0]].shape
    if operator.kind in {"FULLY_CONNECTED", "BATCH_MATMUL"}:
        return int(np.prod(output)) * size // max(output[-1], 1)
    positions = data if operator.kind == "TRANSPOSE_CONV" else output
    return int(np.prod(positions[:-1])) * size


def _weights_size(graph: Graph, operator: Operator) -> int:
    if operator.kind not in WEIGHTED:
        return 0
    weights = weights_of(graph, operator)
    if weights is not None:
        return int(weights.size)
    slot = layout(operator).weights
    maker = graph.maker(operator.inputs[slot]) if slot < len(operator.inputs) else None
    is_sparse = maker is not None and maker.kind == "DENSIFY"
    return int(np.prod(graph.tensors[operator.inputs[slot]].shape)) if is_sparse else 0


def total_macs(graph: Graph) -> int:
    """Count the multiply-accumulates of one inference."""
    return sum(macs(graph, operator) for operator in graph.operators)


def parameters(graph: Graph, operator: Operator) -> int:
    """Count the weights and biases of one operator."""
    if operator.kind not in WEIGHTED:
        return 0
    place = layout(operator)
    slots = [slot for slot in (place.weights, place.bias) if 0 <= slot < len(operator.inputs)]
    held = [graph.values(operator.inputs[slot]) for slot in slots]
    return sum(int(each.size) for each in held if each is not None)


def total_parameters(graph: Graph) -> int:
    """Count all weights and biases."""
    return sum(parameters(graph, operator) for operator in graph.operators)
