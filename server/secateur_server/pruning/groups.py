"""Which channels must go together.

Each tensor's last axis is followed through the graph. An axis is a group's channels, each
standing once, or repeated after a flatten: feature ``k`` belongs to channel ``ids[k]``.

    CONV_2D, FULLY_CONNECTED   a new group at the output; consumes the input's
    DEPTHWISE_CONV_2D          the input's group, each channel repeated by the multiplier
    ADD of two tensors         one group out of two
    pools, activations, MEAN   the input's group
    RESHAPE                    the input's group; a flatten repeats its channels
    SOFTMAX, inputs, outputs   frozen
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.graph import Graph, Operator

Ids = npt.NDArray[np.intp]


@dataclass(slots=True)
class ChannelGroup:
    """Channels coupled by the graph, which leave together.

    Attributes:
        size: Number of channels.
        producers: Weighted operators whose output axis they are.
        consumers: Weighted operators, but depthwise ones, whose input axis they are.
        frozen: Why none may leave; empty: they may.
    """

    name: str
    size: int
    producers: list[int] = field(default_factory=list)
    consumers: list[int] = field(default_factory=list)
    frozen: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """The last axis of one tensor: feature k is channel ``ids[k]`` of a group."""

    group: int
    ids: Ids


@dataclass(frozen=True, slots=True)
class Grouping:
    """All groups, and the axis of every computed tensor."""

    groups: dict[int, ChannelGroup]
    axes: dict[int, Axis]


def find_groups(graph: Graph) -> Grouping:
    """Follow the channels through the graph."""
    return _Finder(graph).run()


class _Finder:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._groups: dict[int, ChannelGroup] = {}
        self._axes: dict[int, Axis] = {}
        self._merged: dict[int, int] = {}

    def run(self) -> Grouping:
        for index in self._graph.inputs:
            self._begin(index, "input of the network")
        for operator in self._graph.operators:
            self._follow(operator)
        for index in self._graph.outputs:
            self._freeze(self._axes[index], "output of the network")
        axes = {k: Axis(self._find(axis.group), axis.ids) for k, axis in self._axes.items()}
        return Grouping(self._groups, axes)

    def _follow(self, operator: Operator) -> None:
        output = operator.outputs[0]
        axis = self._axes.get(operator.inputs[0])
        match operator.kind:
            case "CONV_2D" | "FULLY_CONNECTED":
                self._weighted(operator)
            case "DEPTHWISE_CONV_2D" if axis is not None:
                multiplier = self._graph.tensors[output].shape[-1] // len(axis.ids)
                self._axes[output] = Axis(axis.group, np.repeat(axis.ids, multiplier))
                self._groups[self._find(axis.group)].producers.append(operator.index)
            case "ADD":
                self._add(operator)
            case "RESHAPE" if axis is not None:
                self._reshape(operator, axis)
            case "SOFTMAX" if axis is not None:
                self._freeze(axis, "SOFTMAX mixes the channels")
                self._axes[output] = axis
            case _ if axis is not None:
                self._axes[output] = axis
            case _:
                self._begin(output, f"{operator.kind} of a constant")

    def _weighted(self, operator: Operator) -> None:
        axis = self._axes[operator.inputs[0]]
        features = self._graph.weights(operator).shape[-1]
        if features == len(axis.ids):
            self._groups[self._find(axis.group)].consumers.append(operator.index)
        else:
            self._freeze(axis, f"{operator.kind} #{operator.index} mixes positions")
        group = self._begin(operator.outputs[0], "")
        group.producers.append(operator.index)

    def _add(self, operator: Operator) -> None:
        known = [self._axes[k] for k in operator.inputs if k in self._axes]
        axis = known[0]
        self._axes[operator.outputs[0]] = axis
        if len(known) == 1:
            constant = next(k for k in operator.inputs if k not in self._axes)
            if self._graph.tensors[constant].shape[-1:] not in {(), (1,), (len(axis.ids),)}:
                self._freeze(axis, f"ADD #{operator.index} broadcasts")
            return
        shapes = {self._graph.tensors[k].shape for k in operator.inputs}
        if len(shapes) == 1 and np.array_equal(known[0].ids, known[1].ids):
            self._merge(known[0].group, known[1].group)
        else:
            for each in known:
                self._freeze(each, f"ADD #{operator.index} broadcasts")

    def _reshape(self, operator: Operator, axis: Axis) -> None:
        before = self._graph.tensors[operator.inputs[0]].shape
        output = operator.outputs[0]
        after = self._graph.tensors[output].shape
        if before[-1] == after[-1]:
            self._axes[output] = axis
        elif len(after) == 2 and after[-1] == int(np.prod(before[1:])):  # noqa: PLR2004 - flattened
            positions = after[-1] // before[-1]
            self._axes[output] = Axis(axis.group, np.tile(axis.ids, positions))
        else:
            self._freeze(axis, f"RESHAPE #{operator.index} cannot be followed")
            self._begin(output, f"RESHAPE #{operator.index} cannot be followed")

    def _begin(self, tensor: int, frozen: str) -> ChannelGroup:
        size = self._graph.tensors[tensor].shape[-1] if self._graph.tensors[tensor].shape else 1
        group = ChannelGroup(self._graph.tensors[tensor].name, size, frozen=frozen)
        self._groups[tensor] = group
        self._axes[tensor] = Axis(tensor, np.arange(size))
        return group

    def _freeze(self, axis: Axis, why: str) -> None:
        group = self._groups[self._find(axis.group)]
        group.frozen = group.frozen or why

    def _find(self, group: int) -> int:
        while group in self._merged:
            group = self._merged[group]
        return group

    def _merge(self, one: int, other: int) -> None:
        kept, gone = sorted((self._find(one), self._find(other)))
        if kept == gone:
            return
        group, lost = self._groups[kept], self._groups.pop(gone)
        self._merged[gone] = kept
        group.producers += lost.producers
        group.consumers += lost.consumers
        group.frozen = group.frozen or lost.frozen
