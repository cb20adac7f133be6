"""Which channels must go together: every axis is followed through the graph.

A unit is one prunable channel where it is made: an index along an operator's output axis.
Each operator's rule says which units stand at which index of which axis of which tensor,
constants included; units that the graph couples are tied. What is tied leaves together,
and then each tensor, along each axis that is followed, loses the indices where it stands.

Source:
    Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, arXiv:2301.12900,
    for grouping by dependency; the union of single channels instead of whole axes is ours.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from secateur_server.pruning.flow import CannotFollowError, Flow, Rule
from secateur_server.pruning.graph import Graph, Operator
from secateur_server.pruning.units import FIXED, Ids

__all__ = ["FIXED", "ChannelGroup", "Channels", "Frozen", "Ids", "find_channels"]


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels between which a pruning method chooses.

    Attributes:
        key: The tensor where its first channels are made.
        name: That tensor's.
        channels: The representative unit of each channel, in order.
        frozen: Why none may leave; empty: those that are not fixed may.
    """

    key: int
    name: str
    channels: Ids
    frozen: str = ""

    @property
    def size(self) -> int:
        """Number of channels."""
        return len(self.channels)


@dataclass(frozen=True, slots=True)
class Frozen:
    """An operator that could not be followed; what touches it stays as it is."""

    operator: str
    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Channels:
    """All groups, and where their channels stand.

    Attributes:
        axes: Representative units by storage of the tensor and axis, for axes that hold any
            but `FIXED`.
        units: How many units there are; representatives are below it.
    """

    groups: tuple[ChannelGroup, ...]
    axes: dict[int, dict[int, Ids]]
    frozen: tuple[Frozen, ...]
    units: int

    def ids(self, graph: Graph, tensor: int, axis: int) -> Ids:
        """Give the units along an axis of a tensor, `FIXED` where it is not followed."""
        held = self.axes.get(graph.tensors[tensor].storage, {})
        rank = len(graph.tensors[tensor].shape)
        return held.get(axis % rank, np.full(graph.tensors[tensor].shape[axis], FIXED))


def find_channels(graph: Graph, rules: Mapping[str, Rule]) -> Channels:
    """Follow the channels through a graph.

    Args:
        graph: The network.
        rules: By operator kind; an operator without one freezes what touches it.
    """
    flow = Flow(graph)
    frozen = []
    for operator in graph.operators:
        try:
            flow.carry(rules.get(operator.kind, _unknown), operator)
        except CannotFollowError as error:
            frozen.append(Frozen(operator.kind, operator.index, str(error)))
            for tensor in (*operator.inputs, *operator.outputs):
                if tensor >= 0:
                    flow.freeze(tensor, f"{operator.kind} #{operator.index}: {error}")
    for tensor in (*graph.inputs, *graph.outputs):
        flow.freeze(tensor, "network input or output")
    _keep_some_everywhere(flow)
    return Channels(tuple(_groups(flow)), _followed(flow), tuple(frozen), len(flow.units))


def _unknown(_flow: Flow, _operator: Operator) -> None:
    raise CannotFollowError("not known")


def _keep_some_everywhere(flow: Flow) -> None:
    """Let one channel stay wherever a group could lose all that stand there.

    Of each group one channel stays; that is enough where all of a group stands along an
    axis, but not where a part of it does.
    """
    whole = [set(group.channels.tolist()) for group in _groups(flow)]
    homes = {unit: members for members in whole for unit in members}
    for held in _followed(flow).values():
        for ids in held.values():
            units = set(ids.tolist())
            touched = {id(homes.get(unit)): homes.get(unit, set()) for unit in units}
            if FIXED not in units and not any(each <= units for each in touched.values()):
                flow.units.hold(ids[:1], "the last one of its tensor")


def _followed(flow: Flow) -> dict[int, dict[int, Ids]]:
    """Give the representatives by storage and axis, without axes that only hold `FIXED`."""
    found: dict[int, dict[int, Ids]] = {}
    for storage, held in flow.axes.items():
        roots = {axis: flow.units.roots(ids) for axis, ids in held.items() if ids.any()}
        found[storage] = {axis: ids for axis, ids in roots.items() if ids.any()}
    return found


def _groups(flow: Flow) -> Iterable[ChannelGroup]:
    """Bring together the channels that are made together or tied, and say what holds them."""
    home: dict[int, int] = {}  # a channel's group, by representative
    members: dict[int, list[Ids]] = {}
    for tensor, ids in flow.made:
        roots = flow.units.roots(ids)
        known = sorted({home[root] for root in roots.tolist() if root in home})
        target = known[0] if known else tensor
        members.setdefault(target, []).append(roots)
        for other in known[1:]:
            members[target] += members.pop(other)
        for part in members[target]:
            home.update(dict.fromkeys(part[part != FIXED].tolist(), target))
    made = dict(flow.made)
    for key, parts in members.items():
        units = np.concatenate(parts)
        channels = np.unique(units[units != FIXED])
        reason = "" if len(channels) else flow.units.reason(made[key])
        fixed = np.full(len(made[key]), FIXED)
        name = flow.graph.tensors[key].name
        yield ChannelGroup(key, name, channels if len(channels) else fixed, reason)
