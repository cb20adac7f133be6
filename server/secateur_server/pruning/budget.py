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


Shares = npt.NDArray[np.float64]
"""[groups + 1]: which share of an operator's channels each group has; the last: none has."""

GRID = 8
"""Prices are tabulated at so many steps between nothing and the whole operator."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What each operator of a network costs at each of its sizes.

    An operator's size is the share of its multiply-accumulates that is left; for one that
    has none, the share of its channels.

    Attributes:
        rows: The operators, by their first output tensor.
        dense: [operators], in any unit.
        shares: [operators, GRID + 1]: of that cost, what is left when the square root of
            the size is 0, 1 / GRID, .. 1: that is, when all its widths have this share.
    """

    rows: Mapping[int, int]
    dense: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]


class SumModel:
    """A cost model that adds up what the operators cost.

    Its unit is the cost of the network that the prices are of, which may have more
    operators than the one whose widths are chosen.
    """

    def __init__(
        self,
        graph: Graph,
        channels: Channels,
        groups: Sequence[ChannelGroup],
        prices: Prices,
    ) -> None:
        rows = [prices.rows[each.outputs[0]] for each in graph.operators if each.outputs]
        self._sizes = np.array([group.size for group in groups], float)
        self._prices = prices.dense[rows] / max(float(prices.dense.sum()), 1e-30)
        self._shares = prices.shares[rows]
        self._inputs, self._outputs = operator_shares(graph, channels, groups)
        self._rows = np.arange(len(rows))

    def cost(self, widths: Sequence[int]) -> float:
        """Give the cost in units of the dense network's."""
        kept = np.append(np.asarray(widths) / self._sizes, 1.0)
        side = np.sqrt((self._inputs @ kept) * (self._outputs @ kept)).clip(0.0, 1.0) * GRID
        low = np.minimum(side.astype(int), GRID - 1)
        below, above = (self._shares[self._rows, k] for k in (low, low + 1))
        return float(self._prices @ (below + (side - low) * (above - below)))


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
        made = _shares(_last_axis(graph, channels, operator), channels, groups)
        is_mixing = is_linear(graph, operator)
        seen = feature_units(graph, channels, operator) if is_mixing else None
        inputs.append(made if seen is None else _shares(seen, channels, groups))
        outputs.append(made)
    return np.array(inputs), np.array(outputs)


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
    side = np.linspace(0.0, 1.0, GRID + 1)
    operators = [each for each in graph.operators if each.outputs]
    # What mixes its inputs loses with both its widths; what does not has one width twice.
    shares = [side**2 if is_linear(graph, each) else side**1 for each in operators]
    dense = [
        float(macs(graph, each))
        if resource is Resource.MACS
        else float(parameters(graph, each) * _item_bytes(graph, each))
        for each in operators
    ]
    return Prices(rows_of(operators), np.array(dense), np.array(shares))


def rows_of(operators: Sequence[Operator]) -> dict[int, int]:
    """Number operators by their first output tensor."""
    return {each.outputs[0]: row for row, each in enumerate(operators)}


def _item_bytes(graph: Graph, operator: Operator) -> int:
    if weights_of(graph, operator) is None:
        return 0
    tensor = graph.tensors[operator.inputs[layout(operator).weights]]
    dtype = graph.tensors[tensor.storage].dtype
    return 4 if dtype is None else dtype.itemsize
