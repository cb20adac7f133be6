"""What a network costs at given widths of its groups, and the budget it must meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt

from secateur_server.errors import InputError
from secateur_server.pruning.channels import ChannelGroup, Channels, Ids
from secateur_server.pruning.cost import macs, parameters
from secateur_server.pruning.graph import Graph, Operator
from secateur_server.pruning.linear import (
    feature_units,
    is_linear,
    layout,
    output_units,
    weights_of,
)


class Resource(StrEnum):
    """What there is a budget of."""

    MACS = "macs"
    BYTES = "bytes"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Budget:
    """A share of what the dense network takes.

    Attributes:
        share: Above 0 and below 1.
    """

    resource: Resource
    share: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``macs=0.5``.

        Raises:
            InputError: It is none.
        """
        name, _, number = text.partition("=")
        try:
            budget = cls(Resource(name), float(number))
        except ValueError:
            known = ", ".join(Resource)
            raise InputError(
                f"--budget {text!r}: give one of {known}, as in macs=0.5"
            ) from None
        if not 0 < budget.share < 1:
            raise InputError(f"--budget {text!r}: the share must be above 0 and below 1")
        return budget

    def __str__(self) -> str:
        """Give it as it is written."""
        return f"{self.resource}={self.share:.4g}"


EVEN = 1e-9
"""Shares that differ by less are the same."""

Shares = npt.NDArray[np.float64]
"""[groups + 1]: which share of an operator's channels each group has; the last: none has."""


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """What each operator of a network costs at each of its sizes; like nothing but itself.

    Attributes:
        rows: The operators, by their first output tensor.
        dense: [operators], in any unit.
        grid: Shares of an operator's inputs, and of its outputs, ascending to 1.
        shares: [operators, grid, grid]: of its cost, what is left with such a share of its
            inputs and of its outputs.
        fixed: The share of the whole network's cost that stays whatever leaves.
    """

    rows: Mapping[int, int]
    dense: npt.NDArray[np.float64]
    grid: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]
    fixed: float = 0.0


class SumModel:
    """A cost model that adds up what the operators cost.

    Its unit is the cost of the network that the prices are of, which may have more
    operators than the one whose widths are chosen.

    Most operators that touch a group have all of its channels. Where some have only a few,
    as before a shortcut that is padded to more of them, it counts which ones leave.

    Args:
        graph: The network whose widths are chosen.
        channels: Its channels.
        groups: Those that may become narrower.
        prices: What operators cost.
        orders: By group, its channels in the order in which they leave.
    """

    def __init__(
        self,
        graph: Graph,
        channels: Channels,
        groups: Sequence[ChannelGroup],
        prices: Prices,
        orders: Sequence[Sequence[int]],
    ) -> None:
        rows = [prices.rows[each.outputs[0]] for each in graph.operators if each.outputs]
        total = max(float(prices.dense.sum()), 1e-30)
        self._sizes = np.array([group.size for group in groups], float)
        self._prices = (1.0 - prices.fixed) * prices.dense[rows] / total
        self._fixed = prices.fixed
        self._shares, self._grid = prices.shares[rows], prices.grid
        self._inputs, self._outputs = operator_shares(graph, channels, groups)
        self._touched = (self._inputs[:, :-1] > 0) | (self._outputs[:, :-1] > 0)
        self._uneven = _uneven(graph, channels, groups, orders)
        self._rows = np.arange(len(rows))

    def cost(self, widths: Sequence[int]) -> float:
        """Give the cost in units of the dense network's."""
        return self._fixed + float(self._costs(widths).sum())

    def cost_around(self, group: int, widths: Sequence[int]) -> float:
        """Give the cost of the operators that make or read one group."""
        return float(self._costs(widths)[self._touched[:, group]].sum())

    def _costs(self, widths: Sequence[int]) -> npt.NDArray[np.float64]:
        """Give each operator's cost, between the grid's points in proportion."""
        kept = np.append(np.asarray(widths) / self._sizes, 1.0)
        inputs, outputs = self._inputs @ kept, self._outputs @ kept
        for group, (read, made) in self._uneven.items():
            inputs += read[:, widths[group]] - self._inputs[:, group] * kept[group]
            outputs += made[:, widths[group]] - self._outputs[:, group] * kept[group]
        (i, u), (j, v) = self._place(inputs), self._place(outputs)
        k, table = self._rows, self._shares
        low = table[k, i, j] + v * (table[k, i, j + 1] - table[k, i, j])
        high = table[k, i + 1, j] + v * (table[k, i + 1, j + 1] - table[k, i + 1, j])
        return self._prices * (low + u * (high - low))

    def _place(self, shares: Shares) -> tuple[npt.NDArray[np.intp], Shares]:
        """Give the grid's point below each share, and how far it is to the next."""
        at = np.searchsorted(self._grid, shares + 1e-9, "right") - 1
        at = at.clip(0, len(self._grid) - 2)
        way = (shares - self._grid[at]) / (self._grid[at + 1] - self._grid[at])
        return at, way.clip(0.0, 1.0)


def _uneven(
    graph: Graph,
    channels: Channels,
    groups: Sequence[ChannelGroup],
    orders: Sequence[Sequence[int]],
) -> dict[int, tuple[Shares, Shares]]:
    """Say what of an operator's inputs and outputs stays at each width of a group.

    Returns:
        By the number of a group of which not all operators have all channels alike: twice
        [operators, widths from 0 to the size], of all inputs or outputs.
    """
    units = [_units(graph, channels, each) for each in graph.operators if each.outputs]
    found = {}
    for k, (group, order) in enumerate(zip(groups, orders, strict=True)):
        stays_until = np.zeros(channels.units, np.intp)
        behind = [each for each in range(group.size) if each not in set(order)]
        stays_until[group.channels[[*order, *behind]]] = np.arange(group.size, 0, -1)
        tables = tuple(
            np.array([_staying(each[side], stays_until, group.size) for each in units])
            for side in (0, 1)
        )
        if any(_is_uneven(each) for each in tables):
            found[k] = (tables[0], tables[1])
    return found


def _staying(units: Ids, stays_until: Ids, size: int) -> Shares:
    """Give the share of all units that are of a group and stay, at each of its widths."""
    least = stays_until[units]  # the width from which on each is there; 0: not of this group
    counts = np.bincount(least[least > 0], minlength=size + 1)
    shares: Shares = np.cumsum(counts) / max(len(units), 1)
    return shares


def _is_uneven(table: Shares) -> bool:
    steps = np.diff(table, axis=1)
    return bool((np.abs(steps - steps[:, :1]) > EVEN).any())


def operator_shares(
    graph: Graph, channels: Channels, groups: Sequence[ChannelGroup]
) -> tuple[Shares, Shares]:
    """Say which share of its inputs and of its outputs each operator has from each group.

    Returns:
        Twice [operators, groups + 1]; for an operator that does not mix its inputs the
        outputs' stand for both.
    """
    inputs, outputs = [], []
    for operator in (each for each in graph.operators if each.outputs):
        seen, made = _units(graph, channels, operator)
        inputs.append(_shares(seen, channels, groups))
        outputs.append(_shares(made, channels, groups))
    return np.array(inputs), np.array(outputs)


def _units(graph: Graph, channels: Channels, operator: Operator) -> tuple[Ids, Ids]:
    """Give what an operator reads and makes; what does not mix has the latter twice."""
    made = _last_axis(graph, channels, operator)
    is_mixing = is_linear(graph, operator)
    return feature_units(graph, channels, operator) if is_mixing else made, made


def _last_axis(graph: Graph, channels: Channels, operator: Operator) -> Ids:
    if not graph.tensors[operator.outputs[0]].shape:
        return np.zeros(1, np.intp)
    return output_units(graph, channels, operator)


def _shares(units: Ids, channels: Channels, groups: Sequence[ChannelGroup]) -> Shares:
    home = np.full(channels.units, len(groups))
    for k, group in enumerate(groups):
        home[group.channels] = k
    return np.bincount(home[units], minlength=len(groups) + 1) / max(len(units), 1)


def prices_of(graph: Graph, resource: Resource) -> Prices:
    """Price operators by their multiply-accumulates, or by the bytes of their parameters."""
    operators = [each for each in graph.operators if each.outputs]
    # What mixes its inputs loses with both its widths; what does not has one width twice.
    both, one = np.array([[0.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    shares = [both if is_linear(graph, each) else one for each in operators]
    dense = [
        float(macs(graph, each))
        if resource is Resource.MACS
        else float(parameters(graph, each) * _item_bytes(graph, each))
        for each in operators
    ]
    return Prices(rows_of(operators), np.array(dense), np.array([0.0, 1.0]), np.array(shares))


def rows_of(operators: Sequence[Operator]) -> dict[int, int]:
    """Number operators by their first output tensor."""
    return {each.outputs[0]: row for row, each in enumerate(operators)}


def _item_bytes(graph: Graph, operator: Operator) -> int:
    if weights_of(graph, operator) is None:
        return 0
    tensor = graph.tensors[operator.inputs[layout(operator).weights]]
    dtype = graph.tensors[tensor.storage].dtype
    return 4 if dtype is None else dtype.itemsize
