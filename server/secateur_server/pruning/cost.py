"""What a model costs, from its graph alone."""

import numpy as np

from secateur_server.pruning.graph import WEIGHTED, Graph, Operator


def macs(graph: Graph, operator: Operator) -> int:
    """Count the multiply-accumulates of one operator for one sample."""
    if operator.kind not in WEIGHTED:
        return 0
    weights = graph.tensors[operator.inputs[1]].shape
    output = graph.tensors[operator.outputs[0]].shape
    if operator.kind == "FULLY_CONNECTED":
        return int(np.prod(weights))
    positions = int(np.prod(output[1:3]))
    return positions * int(np.prod(weights))


def total_macs(graph: Graph) -> int:
    """Count the multiply-accumulates of one sample."""
    return sum(macs(graph, operator) for operator in graph.operators)


def parameters(graph: Graph, operator: Operator) -> int:
    """Count the weights and biases of one operator."""
    if operator.kind not in WEIGHTED:
        return 0
    held = [graph.tensors[k].data for k in operator.inputs[1:] if k >= 0]
    return sum(int(each.size) for each in held if each is not None)


def total_parameters(graph: Graph) -> int:
    """Count all weights and biases."""
    return sum(parameters(graph, operator) for operator in graph.operators)
