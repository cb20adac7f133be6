"""What each operator of a level computes and takes, to be laid beside the dense level's."""

from dataclasses import dataclass
from pathlib import Path

from secateur_server.pruning.cost import macs
from secateur_server.pruning.flatbuffer import read_model
from secateur_server.pruning.graph import Graph, Operator, read_graph
from secateur_server.pruning.latency import operator_latencies
from secateur_server.pruning.sparse.storage import densified


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator of one level.

    Attributes:
        name: Of its first output tensor: the same in all levels.
        channels: Length of its output's last axis.
        latency_ms: Alone in the engine. ``None``: it does not run alone.
    """

    name: str
    kind: str
    channels: int
    macs: int
    latency_ms: float | None


def read_layers(path: Path, threads: int) -> tuple[Layer, ...]:
    """Read a level's artifact and measure its operators one by one, in order.

    What is stored sparsely is read as what the engine makes of it.

    Raises:
        InputError: It cannot be read.
    """
    source, _ = densified(read_model(path))
    graph = read_graph(source.tree())
    (taken_s,) = operator_latencies([graph], threads, lambda _share: None)
    return tuple(
        _layer(graph, operator, float(taken_s[operator.index]) * 1e3)
        for operator in graph.operators
        if operator.outputs
    )


def _layer(graph: Graph, operator: Operator, latency_ms: float) -> Layer:
    output = graph.tensors[operator.outputs[0]]
    return Layer(
        output.name,
        operator.kind,
        output.shape[-1] if output.shape else 1,
        macs(graph, operator),
        latency_ms or None,
    )
