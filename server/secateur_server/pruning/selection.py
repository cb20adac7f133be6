"""Rank the channels of every group, from one pass of the calibration set."""

from collections.abc import Callable

import numpy as np

from secateur_server.pruning.channels import FIXED, ChannelGroup, Channels, Ids
from secateur_server.pruning.execution import Frontier, Values
from secateur_server.pruning.graph import Graph, Operator
from secateur_server.pruning.linear import (
    WEIGHTED,
    as_matrix,
    feature_units,
    has_movable_features,
    is_linear,
    layout,
    weights_of,
)
from secateur_server.pruning.moments import Matrix, input_moments
from secateur_server.pruning.saliency import (
    OTHER,
    Consumer,
    Ranking,
    Saliency,
    activation_scores,
    rank_by,
    removal_order,
)

Tick = Callable[[float], None]
"""Told the share that is done, 0 to 1."""


def measure_inputs(
    graph: Graph, channels: Channels, x: Values, tick: Tick
) -> dict[int, Matrix]:
    """Run the network and sum up the moments of what its linear operators see.

    Returns:
        Centred second moments by operator, for those that channels may leave from and that
        the engine could run up to.
    """
    found: dict[int, Matrix] = {}
    frontier = Frontier(graph, {graph.inputs[0]: x})
    for operator in graph.operators:
        if is_linear(graph, operator) and has_movable_features(graph, channels, operator):
            seen = frontier.values.get(operator.inputs[layout(operator).data])
            if seen is not None:
                moments = input_moments(graph, operator, seen)
                found[operator.index] = moments.centred()[0] / moments.count
        frontier.step(graph, operator)
        frontier.release(operator)
        tick((operator.index + 1) / len(graph.operators))
    return found


def free_groups(graph: Graph, channels: Channels) -> list[ChannelGroup]:
    """List the groups of which channels may leave: more than one, and read by something."""
    read: set[int] = set()
    for operator in graph.operators:
        if is_linear(graph, operator):
            read.update(feature_units(graph, channels, operator).tolist())
    return [
        group
        for group in channels.groups
        if not group.frozen and group.size > 1 and read.intersection(group.channels.tolist())
    ]


def rank_group(
    graph: Graph,
    channels: Channels,
    group: ChannelGroup,
    moments: dict[int, Matrix],
    saliency: Saliency,
    *,
    seed: int = 0,
) -> Ranking:
    """Say in which order a group's channels leave."""
    if saliency is Saliency.RANDOM:
        return rank_by(np.random.default_rng(seed + group.key).random(group.size))
    consumers = _consumers(graph, channels, group, moments)
    if saliency is Saliency.OBS and consumers:
        return removal_order(group.size, consumers, group.size - 1)
    if saliency is Saliency.ACTIVATION and consumers:
        return rank_by(activation_scores(group.size, consumers))
    power = 1 if saliency is Saliency.L1 else 2
    return rank_by(_norms(graph, channels, group, power))


def _consumers(
    graph: Graph, channels: Channels, group: ChannelGroup, moments: dict[int, Matrix]
) -> list[Consumer]:
    found = []
    for index, seen in moments.items():
        operator = graph.operators[index]
        weights = weights_of(graph, operator)
        places = _places(group, channels, feature_units(graph, channels, operator))
        if weights is not None and (places != OTHER).any():
            matrix = as_matrix(operator, weights).astype(np.float64)
            found.append(Consumer(seen, matrix, places))
    return found


def _places(group: ChannelGroup, channels: Channels, units: Ids) -> Ids:
    """Give the group's channel at each unit."""
    table = np.full(channels.units, OTHER)
    table[group.channels] = np.arange(group.size)
    table[FIXED] = OTHER
    return table[units]


def _norms(graph: Graph, channels: Channels, group: ChannelGroup, power: int) -> Matrix:
    """Score each channel by the norm of the weights that make it.

    Source:
        Li et al., "Pruning Filters for Efficient ConvNets", arXiv:1608.08710, section 3.1.
    """
    total = np.zeros(group.size)
    for operator in graph.operators:
        weights = weights_of(graph, operator) if operator.kind in WEIGHTED else None
        if weights is None:
            continue
        places = _places(group, channels, channels.ids(graph, operator.outputs[0], -1))
        mine = places != OTHER
        if mine.any():
            norms = _by_output(operator, np.abs(weights.astype(np.float64)) ** power)
            total += np.bincount(places[mine], (norms / norms.mean())[mine], group.size)
    return total


def _by_output(operator: Operator, magnitudes: Matrix) -> Matrix:
    if operator.kind == "DEPTHWISE_CONV_2D":
        return np.asarray(magnitudes.sum(axis=(0, 1, 2)))
    return np.asarray(as_matrix(operator, magnitudes).sum(axis=0))
