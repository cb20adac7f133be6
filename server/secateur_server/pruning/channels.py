"""Which channels must go together: every axis is followed through the graph.

A unit is one prunable channel where it is made: an index along an operator's output axis.
Each operator's rule says which units stand at which index of which axis of which tensor,
constants included; units that the graph couples are tied. What is tied leaves together,
and then each tensor, along each axis that is followed, loses the indices where it stands.

Source:
    Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, arXiv:2301.12900,
    for grouping by dependency; the union of single channels instead of whole axes is ours.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.graph import Graph, Operator

Ids = npt.NDArray[np.intp]
"""One unit by index along an axis, or by element of a tensor."""

FIXED = 0
"""The unit that never leaves: padding, inputs, outputs, whatever cannot be followed."""

MAX_CHANNELS = 1 << 20
"""Longest axis that is followed."""

MAX_ELEMENTS = 1 << 26
"""Largest tensor whose elements are followed one by one through a change of layout."""


class CannotFollowError(Exception):
    """A rule does not apply; the operator's channels are frozen with this reason."""


Rule = Callable[["Flow", Operator], None]


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
        axes: Representative units by tensor and axis, for axes that hold any but `FIXED`.
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


@dataclass(slots=True)
class Flow:
    """What rules work on while the graph is followed, from the first operator to the last."""

    graph: Graph
    axes: dict[int, dict[int, Ids]] = field(default_factory=dict)
    made: list[tuple[int, Ids]] = field(default_factory=list)
    _parents: list[int] = field(default_factory=lambda: [FIXED])
    _reasons: dict[int, str] = field(default_factory=dict)
    _pinned: set[int] = field(default_factory=set)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Give a tensor's axis sizes."""
        return self.graph.tensors[tensor].shape

    def rank(self, tensor: int) -> int:
        """Give a tensor's number of axes."""
        return len(self.shape(tensor))

    def ids(self, tensor: int, axis: int) -> Ids:
        """Give the units along an axis."""
        shape = self.shape(tensor)
        if not -len(shape) <= axis < len(shape):
            raise CannotFollowError(f"axis {axis} of a tensor of shape {shape}")
        if shape[axis] > MAX_CHANNELS:
            raise CannotFollowError(f"{shape[axis]} channels")
        self._seen.add((self._key(tensor), axis % len(shape)))
        held = self.axes.get(self._key(tensor), {})
        return held.get(axis % len(shape), np.full(shape[axis], FIXED, np.intp))

    def make(self, tensor: int, axis: int) -> Ids:
        """Begin new channels along an axis."""
        count = len(self.ids(tensor, axis))
        ids = np.arange(len(self._parents), len(self._parents) + count)
        self._parents.extend(range(len(self._parents), len(self._parents) + count))
        self.made.append((tensor, ids))
        self.bind(tensor, axis, ids)
        return ids

    def bind(self, tensor: int, axis: int, ids: Ids) -> None:
        """Say which units stand along an axis; what stands there already is tied to them."""
        shape = self.shape(tensor)
        if not -len(shape) <= axis < len(shape) or shape[axis] != len(ids):
            raise CannotFollowError(f"{len(ids)} channels on axis {axis} of shape {shape}")
        if self.graph.tensors[tensor].is_opaque:
            raise CannotFollowError("its constant is sparse or of a type that cannot be edited")
        self._seen.add((self._key(tensor), axis % len(shape)))
        held = self.axes.setdefault(self._key(tensor), {})
        if axis % len(shape) in held:
            self.tie(held[axis % len(shape)], ids)
        held[axis % len(shape)] = ids
        if self._key(tensor) in self._pinned:
            self.freeze(tensor, "shared with an operator that cannot be followed")

    def tie(self, some: Ids, others: Ids) -> None:
        """Make units leave together, index by index."""
        for one, other in zip(some.tolist(), others.tolist(), strict=True):
            first, second = self._find(one), self._find(other)
            if first != second:
                # The lower one represents: `FIXED` wins over all.
                low, high = min(first, second), max(first, second)
                self._parents[high] = low
                if low == FIXED:
                    self._reasons.setdefault(high, "coupled to channels that cannot leave")

    def freeze(self, tensor: int, why: str) -> None:
        """Let nothing along any axis of a tensor leave, now or later."""
        self._pinned.add(self._key(tensor))
        for ids in self.axes.get(self._key(tensor), {}).values():
            self.hold(ids, why)

    def hold(self, ids: Ids, why: str) -> None:
        """Let these units stay."""
        for unit in np.unique(ids).tolist():
            root = self._find(unit)
            if root != FIXED:
                self._parents[root] = FIXED
                self._reasons[root] = why

    def carry(self, rule: Rule, operator: Operator) -> None:
        """Apply a rule; along axes of inputs that it does not look at nothing leaves.

        Raises:
            CannotFollowError: The rule does not apply, or the operator is malformed.
        """
        self._seen.clear()
        try:
            rule(self, operator)
        except (ArithmeticError, LookupError, ValueError, AttributeError, TypeError) as error:
            raise CannotFollowError("malformed") from error
        if all(self.graph.tensors[k].is_constant for k in operator.outputs):
            return  # a DEQUANTIZE that was read as the constant it makes
        for tensor in operator.inputs:
            if tensor >= 0:
                self._settle_rest(tensor, f"{operator.kind} #{operator.index} mixes them")

    def _settle_rest(self, tensor: int, why: str) -> None:
        held = self.axes.setdefault(self._key(tensor), {})
        for axis, size in enumerate(self.shape(tensor)):
            if (self._key(tensor), axis) in self._seen:
                continue
            if axis in held:
                self.hold(held[axis], why)
            elif self.graph.tensors[tensor].is_constant and size <= MAX_CHANNELS:
                held[axis] = np.full(size, FIXED, np.intp)  # for who shares the constant

    def lift(self, tensor: int) -> Ids:
        """Give the unit of every element, in the tensor's shape; one axis may be followed."""
        shape = self.shape(tensor)
        if np.prod(shape) > MAX_ELEMENTS:
            raise CannotFollowError(f"a tensor of shape {shape} is too large to follow")
        held = {k: v for k, v in self.axes.get(self._key(tensor), {}).items() if v.any()}
        self._seen.update((self._key(tensor), axis) for axis in range(len(shape)))
        if len(held) > 1:
            raise CannotFollowError("channels on two axes change their layout")
        lifted = np.zeros(shape, np.intp)
        for axis, ids in held.items():
            lifted += ids.reshape([-1 if k == axis else 1 for k in range(len(shape))])
        return lifted

    def settle(self, tensor: int, lifted: Ids) -> None:
        """Take the unit of every element, and tie until they vary along one axis only."""
        if lifted.shape != self.shape(tensor):
            raise CannotFollowError(f"{lifted.shape} elements in a tensor {self.shape(tensor)}")
        varying = [
            axis for axis in range(lifted.ndim) if (lifted != lifted.take([0], axis=axis)).any()
        ]
        if not varying and not lifted.any():
            return
        axis = varying[-1] if varying else lifted.ndim - 1
        rows = np.moveaxis(lifted, axis, -1).reshape(-1, lifted.shape[axis])
        distinct = np.unique(rows, axis=0) if len(varying) > 1 else rows[:1]
        for row in distinct[1:]:
            self.tie(distinct[0], row)
        self.bind(tensor, axis, distinct[0])

    def finish(self, frozen: Iterable[Frozen]) -> Channels:
        """Name the groups: channels that are made together or tied, and what holds them."""
        for tensor in (*self.graph.inputs, *self.graph.outputs):
            self.freeze(tensor, "network input or output")
        self._keep_some_everywhere()
        return Channels(
            tuple(self._groups()), self._followed(), tuple(frozen), len(self._parents)
        )

    def _keep_some_everywhere(self) -> None:
        """Let one channel stay wherever a group could lose all that stand there.

        Of each group one channel stays; that is enough where all of a group stands along
        an axis, but not where a part of it does.
        """
        whole = [set(group.channels.tolist()) for group in self._groups()]
        homes = {unit: members for members in whole for unit in members}
        for held in self._followed().values():
            for ids in held.values():
                units = set(ids.tolist())
                touched = {id(homes.get(unit)): homes.get(unit, set()) for unit in units}
                if FIXED not in units and not any(each <= units for each in touched.values()):
                    self.hold(ids[:1], "the last one of its tensor")

    def _followed(self) -> dict[int, dict[int, Ids]]:
        """Give the representatives by tensor and axis, without axes that only hold `FIXED`."""
        found: dict[int, dict[int, Ids]] = {}
        for tensor, held in self.axes.items():
            roots = {axis: self._roots(ids) for axis, ids in held.items() if ids.any()}
            found[tensor] = {axis: ids for axis, ids in roots.items() if ids.any()}
        return found

    def _groups(self) -> Iterable[ChannelGroup]:
        home: dict[int, int] = {}  # a channel's group, by representative
        members: dict[int, list[Ids]] = {}
        for tensor, ids in self.made:
            roots = self._roots(ids)
            known = sorted({home[root] for root in roots.tolist() if root in home})
            target = known[0] if known else tensor
            members.setdefault(target, []).append(roots)
            for other in known[1:]:
                members[target] += members.pop(other)
            for part in members[target]:
                home.update(dict.fromkeys(part[part != FIXED].tolist(), target))
        made = dict(self.made)
        for key, parts in members.items():
            units = np.concatenate(parts)
            channels = np.unique(units[units != FIXED])
            reason = "" if len(channels) else self._reason(made[key])
            name = self.graph.tensors[key].name
            fixed = np.full(len(made[key]), FIXED)
            yield ChannelGroup(key, name, channels if len(channels) else fixed, reason)

    def _reason(self, ids: Ids) -> str:
        for unit in ids.tolist():
            at = unit
            while at not in self._reasons and self._parents[at] != at:
                at = self._parents[at]
            if at in self._reasons:
                return self._reasons[at]
        return "fixed"

    def _roots(self, ids: Ids) -> Ids:
        units, inverse = np.unique(ids, return_inverse=True)
        return np.array([self._find(unit) for unit in units.tolist()], np.intp)[inverse]

    def _find(self, unit: int) -> int:
        root = unit
        while self._parents[root] != root:
            root = self._parents[root]
        # The way to `FIXED` is left as it is: the reason stands along it.
        while root not in {FIXED, self._parents[unit]}:
            self._parents[unit], unit = root, self._parents[unit]
        return root

    def _key(self, tensor: int) -> int:
        return self.graph.tensors[tensor].storage


def _unknown(_flow: Flow, _operator: Operator) -> None:
    raise CannotFollowError("not known")


def find_channels(graph: Graph, rules: dict[str, Rule]) -> Channels:
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
    return flow.finish(frozen)
