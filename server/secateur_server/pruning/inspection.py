"""What a model is made of, as plain data."""

from pathlib import Path
from typing import Any

from secateur_server.pruning.cost import macs, parameters, total_macs, total_parameters
from secateur_server.pruning.flatbuffer import read_model
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.groups import find_groups


def inspect_model(path: Path) -> dict[str, Any]:
    """Describe operators, costs and channel groups.

    Raises:
        InputError: No ``.tflite`` file, or one that cannot be followed yet.
    """
    source = read_model(path)
    graph = read_graph(source.tree())
    grouping = find_groups(graph)
    return {
        "bytes": len(source.content),
        "macs": total_macs(graph),
        "parameters": total_parameters(graph),
        "operators": [
            {
                "index": operator.index,
                "kind": operator.kind,
                "input": list(graph.tensors[operator.inputs[0]].shape),
                "output": list(graph.tensors[operator.outputs[0]].shape),
                "macs": macs(graph, operator),
                "parameters": parameters(graph, operator),
            }
            for operator in graph.operators
        ],
        "groups": [
            {
                "name": group.name,
                "size": group.size,
                "producers": group.producers,
                "consumers": group.consumers,
                "frozen": group.frozen,
            }
            for group in grouping.groups.values()
        ],
    }
