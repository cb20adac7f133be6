"""Label-free Fisher information finds the channels that the answers hang on."""

from pathlib import Path

import numpy as np
import pytest

from secateur_server.pruning.channels import find_channels
from secateur_server.pruning.fisher import fisher_scores
from secateur_server.pruning.flatbuffer import Source
from secateur_server.pruning.graph import Graph, read_graph
from secateur_server.pruning.linear import is_linear, layout, weights_of
from secateur_server.pruning.rules import RULES
from secateur_server.pruning.selection import free_groups
from support import architectures


def read(content: bytes) -> Graph:
    return read_graph(Source(Path("model"), content).tree())


def samples(graph: Graph) -> dict[int, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        k: random.normal(size=(24, *graph.tensors[k].shape)).astype(np.float32)
        for k in graph.inputs
    }


@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2", "transformer", "unet"])
def test_a_channel_that_nothing_reads_scores_nothing(name: str) -> None:
    graph = read(getattr(architectures, name)())
    channels = find_channels(graph, RULES)
    group = free_groups(graph, channels)[0]
    unread = int(group.channels[0])
    for operator in graph.operators:
        weights = weights_of(graph, operator)
        if weights is None or not is_linear(graph, operator):
            continue
        tensor = graph.tensors[operator.inputs[layout(operator).weights]]
        is_plain = operator.kind == "BATCH_MATMUL" and not operator.options.adjY
        axis = -2 if is_plain else -1
        reads = channels.ids(graph, tensor.index, axis) == unread
        shape = [1] * weights.ndim
        shape[axis] = -1
        silent = np.where(reads.reshape(shape), np.float32(0), weights)
        graph = graph.with_values(tensor.index, silent, tensor.quantization)
    scores = fisher_scores(graph, channels, samples(graph), seed=0)
    others = scores[group.channels[1:]]
    assert scores[unread] == 0
    assert others.max() > 0


def test_the_same_seed_gives_the_same_scores() -> None:
    graph = read(architectures.resnet())
    channels = find_channels(graph, RULES)
    one, other = (fisher_scores(graph, channels, samples(graph), seed=1) for _ in range(2))
    assert np.array_equal(one, other)
