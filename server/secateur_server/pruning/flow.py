"""What the rules of operators work on while a graph is followed, front to back."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from secateur_server.pruning.graph import Graph, Operator
from secateur_server.pruning.units import FIXED, Ids, Units

MAX_CHANNELS = 1 << 20
"""Longest axis that is followed."""

MAX_ELEMENTS = 1 << 26
"""Largest tensor whose elements are followed one by one through a change of layout."""


class CannotFollowError(Exception):
    """A rule does not apply; the operator's channels are frozen with this reason."""


Rule = Callable[["Flow", Operator], None]
"""Says which units stand at which index of which axis of an operator's tensors.

Along axes of the operator's inputs that the rule neither asks for nor binds nothing leaves.
"""


@dataclass(slots=True)
class Flow:
    """Where units stand so far.

    Attributes:
        axes: Units by storage of the tensor and axis; an axis that is missing is `FIXED`.
        made: Where channels began, in order: the tensor and its units.
    """

    graph: Graph
    units: Units = field(default_factory=Units)
    axes: dict[int, dict[int, Ids]] = field(default_factory=dict)
    made: list[tuple[int, Ids]] = field(default_factory=list)
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
        storage, axis = self._place(tensor, axis)
        size = self.shape(tensor)[axis]
        if size > MAX_CHANNELS:
            raise CannotFollowError(f"{size} channels")
        return self.axes.get(storage, {}).get(axis, np.full(size, FIXED, np.intp))

    def make(self, tensor: int, axis: int) -> Ids:
        """Begin new channels along an axis."""
        ids = self.units.make(len(self.ids(tensor, axis)))
        self.made.append((tensor, ids))
        self.bind(tensor, axis, ids)
        return ids

    def bind(self, tensor: int, axis: int, ids: Ids) -> None:
        """Say which units stand along an axis; what stands there already is tied to them."""
        storage, axis = self._place(tensor, axis)
        shape = self.shape(tensor)
        if shape[axis] != len(ids):
            raise CannotFollowError(f"{len(ids)} channels on axis {axis} of shape {shape}")
        if self.graph.tensors[tensor].is_opaque:
            raise CannotFollowError("its constant is sparse or of a type that cannot be edited")
        held = self.axes.setdefault(storage, {})
        if axis in held:
            self.units.tie(held[axis], ids)
        held[axis] = ids
        if storage in self._pinned:
            self.units.hold(ids, "shared with an operator that cannot be followed")

    def freeze(self, tensor: int, why: str) -> None:
        """Let nothing along any axis of a tensor leave, now or later."""
        storage = self.graph.tensors[tensor].storage
        self._pinned.add(storage)
        for ids in self.axes.get(storage, {}).values():
            self.units.hold(ids, why)

    def lift(self, tensor: int) -> Ids:
        """Give the unit of every element, in the tensor's shape; one axis may be followed."""
        shape = self.shape(tensor)
        if np.prod(shape, dtype=np.float64) > MAX_ELEMENTS:
            raise CannotFollowError(f"a tensor of shape {shape} is too large to follow")
        lifted = np.zeros(shape, np.intp)
        followed = [axis for axis in range(len(shape)) if self.ids(tensor, axis).any()]
        if len(followed) > 1:
            raise CannotFollowError("channels on two axes change their layout")
        for axis in followed:
            ids = self.ids(tensor, axis)
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
            self.units.tie(distinct[0], row)
        self.bind(tensor, axis, distinct[0])

    def carry(self, rule: Rule, operator: Operator) -> None:
        """Apply a rule.

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
                self._hold_unseen(tensor, f"{operator.kind} #{operator.index} mixes them")

    def _hold_unseen(self, tensor: int, why: str) -> None:
        """Let nothing leave along the axes that the rule did not look at."""
        storage = self.graph.tensors[tensor].storage
        held = self.axes.setdefault(storage, {})
        for axis, size in enumerate(self.shape(tensor)):
            if (storage, axis) in self._seen:
                continue
            if axis in held:
                self.units.hold(held[axis], why)
            elif self.graph.tensors[tensor].is_constant and size <= MAX_CHANNELS:
                held[axis] = np.full(size, FIXED, np.intp)  # for who shares the constant

    def _place(self, tensor: int, axis: int) -> tuple[int, int]:
        """Give the storage and the axis from the front, and note that they were looked at."""
        rank = self.rank(tensor)
        if not -rank <= axis < rank:
            raise CannotFollowError(f"axis {axis} of a tensor of shape {self.shape(tensor)}")
        place = self.graph.tensors[tensor].storage, axis % rank
        self._seen.add(place)
        return place
