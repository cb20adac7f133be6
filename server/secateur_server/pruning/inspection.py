"""What a model is made of, as plain data."""

from pathlib import Path
from typing import Any

import numpy as np

from secateur_server.pruning.channels import ChannelGroup, Channels, find_channels
from secateur_server.pruning.cost import macs, parameters, total_macs, total_parameters
from secateur_server.pruning.flatbuffer import read_model
from secateur_server.pruning.graph import Graph, Operator, read_graph
from secateur_server.pruning.linear import feature_units, is_linear, output_units
from secateur_server.pruning.pruner import precision_of
from secateur_server.pruning.rules import RULES


def inspect_model(path: Path) -> dict[str, Any]:
    """Describe operators, costs and channel groups.

    Raises:
        InputError: No ``.tflite`` file, or one that the engine does not take.
    """
    source = read_model(path, must_run=False)
    tree = source.tree()
    graph = read_graph(tree)
    channels = find_channels(graph, RULES)
    return {
        "bytes": len(source.content),
        "refusal": source.refusal,
        "macs": total_macs(graph),
        "parameters": total_parameters(graph),
        "precision": precision_of(graph).value,
        "subgraphs": len(tree.subgraphs),
        "operators": [_operator(graph, operator) for operator in graph.operators],
        "groups": [_group(graph, channels, group) for group in channels.groups],
        "not_followed": [
            {"operator": each.operator, "index": each.index, "reason": each.reason}
            for each in channels.frozen
        ],
    }


def _operator(graph: Graph, operator: Operator) -> dict[str, Any]:
    computed = graph.computed(operator)
    return {
        "index": operator.index,
        "kind": operator.kind,
        "input": list(graph.tensors[computed[0]].shape) if computed else [],
        "output": list(graph.tensors[operator.outputs[0]].shape) if operator.outputs else [],
        "macs": macs(graph, operator),
        "parameters": parameters(graph, operator),
    }


def _group(graph: Graph, channels: Channels, group: ChannelGroup) -> dict[str, Any]:
    linear = [operator for operator in graph.operators if is_linear(graph, operator)]
    return {
        "name": group.name,
        "size": group.size,
        "producers": [
            each.index
            for each in linear
            if not group.frozen
            and np.isin(output_units(graph, channels, each), group.channels).any()
        ],
        "consumers": [
            each.index
            for each in linear
            if not group.frozen
            and np.isin(feature_units(graph, channels, each), group.channels).any()
        ],
        "frozen": group.frozen,
    }
