"""Takes channels out of a model by hand, and compares what is left with the original."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur_server.pruning.apply import apply
from secateur_server.pruning.channels import FIXED, Channels, find_channels
from secateur_server.pruning.flatbuffer import write_model
from secateur_server.pruning.graph import Graph, Operator, read_graph
from secateur_server.pruning.linear import as_matrix, feature_units, from_matrix, is_linear
from secateur_server.pruning.linear import layout as slots_of
from secateur_server.pruning.narrowing import Stays, everything, narrow
from secateur_server.pruning.rules import RULES
from support.tiny_models import Array, run

Gone = Mapping[str, Sequence[int]]
"""Channels on the last axis of a tensor, by the tensor's name."""

Build = Callable[[npt.NDArray[np.intp]], bytes]
"""Makes the network with these channels of its group."""


def follow(content: bytes) -> tuple[Graph, Channels]:
    """Read a model and follow its channels."""
    graph = read_graph(schema.ModelT.InitFromPackedBuf(content, 0))
    return graph, find_channels(graph, RULES)


def named(graph: Graph, name: str) -> int:
    """Find a tensor by name."""
    (found,) = (tensor.index for tensor in graph.tensors if tensor.name == name)
    return found


def staying(graph: Graph, channels: Channels, gone: Gone) -> Stays:
    """Let some channels leave, whatever they are tied to."""
    stays = everything(channels)
    for name, indices in gone.items():
        units = channels.ids(graph, named(graph, name), -1)[list(indices)]
        assert (units != FIXED).all(), f"{name} cannot lose {indices}"
        stays[units] = False
    return stays


def write(content: bytes, before: Graph, after: Graph) -> bytes:
    """Write a changed graph back."""
    tree = schema.ModelT.InitFromPackedBuf(content, 0)
    apply(tree, before, after)
    return write_model(tree)


def without(content: bytes, gone: Gone) -> bytes:
    """Take channels out of a model, with nothing fitted."""
    graph, channels = follow(content)
    return write(content, graph, narrow(graph, channels, staying(graph, channels, gone)))


def masked(content: bytes, gone: Gone) -> bytes:
    """Leave every channel in, but let no consumer see those that would leave."""
    graph, channels = follow(content)
    stays = staying(graph, channels, gone)
    return write(content, graph, mask(graph, channels, stays))


def mask(graph: Graph, channels: Channels, stays: Stays) -> Graph:
    """Set the consumers' weights of the channels that do not stay to zero."""
    zeroed: dict[int, Array] = {}
    for operator in graph.operators:
        if not is_linear(graph, operator):
            continue
        tensor = graph.tensors[operator.inputs[slots_of(operator).weights]]
        weights = np.asarray(tensor.values)
        matrix = as_matrix(operator, weights).astype(np.float64)
        matrix[~stays[feature_units(graph, channels, operator)]] = 0
        zeroed[tensor.index] = from_matrix(operator, matrix, weights)
    for index, weights in zeroed.items():
        graph = graph.with_values(index, weights, graph.tensors[index].quantization)
    return graph


def thinned(graph: Graph, channels: Channels) -> Stays:
    """Let every third channel leave, of the groups that `mask` can mask.

    These are all that meet weights and that nothing without weights mixes.
    """
    read = {
        unit
        for operator in graph.operators
        if is_linear(graph, operator)
        for unit in feature_units(graph, channels, operator).tolist()
        if unit != FIXED
    }
    mixed = {
        unit
        for operator in graph.operators
        if operator.kind in {"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "L2_NORMALIZATION"}
        for unit in channels.ids(graph, operator.inputs[0], -1).tolist()
        if -1 in _reduced(graph, operator)
    }
    stays = everything(channels)
    for group in channels.groups:
        if group.size > 1 and (read - mixed).issuperset(group.channels.tolist()):
            stays[group.channels[::3]] = False
    return stays


def _reduced(graph: Graph, operator: Operator) -> set[int]:
    """Give the axes that an operator mixes, from the end."""
    rank = len(graph.tensors[operator.inputs[0]].shape)
    axes = graph.values(operator.inputs[1]) if len(operator.inputs) > 1 else np.array([-1])
    return {int(axis) % rank - rank for axis in np.ravel(np.asarray(axes))}


def assert_alike(some: Sequence[Array], others: Sequence[Array], tolerance: float) -> None:
    """Compare all outputs; the tolerance is in units of the largest number."""
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.shape == other.shape
        assert np.isfinite(other).all()
        scale = max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale)


def assert_slices(
    build: Build,
    gone: Gone,
    *inputs: Array,
    size: int = 6,
    tolerance: float = 1e-5,
    is_masked_alike: bool = True,
) -> bytes:
    """Prune a network by a plan and compare it with the slice that a test made by hand.

    Args:
        build: Makes the network with some channels of the group that ``gone`` names first.
        gone: What leaves.
        inputs: One sample.
        size: Channels of that group.
        tolerance: In units of the largest output.
        is_masked_alike: Whether dropping the channels at their consumers is the same.

    Returns:
        The pruned model.
    """
    dense = build(np.arange(size))
    expected = build(np.setdiff1d(np.arange(size), next(iter(gone.values()))))
    pruned = without(dense, gone)
    before, now, wanted = (follow(each)[0] for each in (dense, pruned, expected))
    assert [t.shape for t in now.tensors[: len(wanted.tensors)]] == [
        t.shape for t in wanted.tensors
    ]
    assert [t.shape for t in now.tensors] != [t.shape for t in before.tensors]
    assert_alike(run(pruned, *inputs), run(expected, *inputs), tolerance)
    if is_masked_alike:
        assert_alike(run(pruned, *inputs), run(masked(dense, gone), *inputs), tolerance)
    return pruned
