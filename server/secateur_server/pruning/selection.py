"""Rank the channels of every group by what the original network computes."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.channels import FIXED, ChannelGroup, Channels, Ids
from secateur_server.pruning.graph import Graph, Operator
from secateur_server.pruning.linear import (
    WEIGHTED,
    as_matrix,
    feature_units,
    is_linear,
    weights_of,
)
from secateur_server.pruning.moments import Matrix
from secateur_server.pruning.saliency import (
    DAMPING,
    OTHER,
    STRONG_DAMPING,
    Consumer,
    Ranking,
    Saliency,
    activation_scores,
    rank_by,
    removal_order,
)

Moments = npt.NDArray[np.float32]
"""Centred second moments of one operator's input, [features, features]."""

DAMPINGS = {Saliency.OBS: DAMPING, Saliency.OBS_DAMPED: STRONG_DAMPING}


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
    moments: Mapping[int, Moments],
    saliency: Saliency,
    *,
    seed: int = 0,
) -> Ranking:
    """Say in which order a group's channels leave."""
    if saliency is Saliency.RANDOM:
        return rank_by(np.random.default_rng(seed + group.key).random(group.size))
    consumers = _consumers(graph, channels, group, moments)
    if saliency in DAMPINGS and consumers:
        return removal_order(group.size, consumers, group.size - 1, DAMPINGS[saliency])
    if saliency is Saliency.ACTIVATION and consumers:
        return rank_by(activation_scores(group.size, consumers))
    power = 1 if saliency is Saliency.L1 else 2
    return rank_by(_norms(graph, channels, group, power))


def _consumers(
    graph: Graph, channels: Channels, group: ChannelGroup, moments: Mapping[int, Moments]
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
