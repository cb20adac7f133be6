"""The parameters as the optimizer sees them: all directions weigh alike.

What a weighted operator sees is far from round: pixels of 0 to 255 have a large mean, and
features after an activation are positive and move together. One step size then is too
large along some directions and too small along most. So an operator's weights are learned
as those of the same map of whitened inputs, y = (x - mean) A V + c, with
A = (covariance + damping)^-1/2 as measured once on the student as given. The map is the
same, only the path of the learning is another; afterwards W = A V and b = c - mean W.

A linear operator is one block of features; a depthwise convolution is a block of taps for
each input channel.

Source:
    Desjardins et al., "Natural Neural Networks", NeurIPS 2015, arXiv:1507.00210, section 3,
    without the repeated measuring; the inverse square root is one factor of K-FAC, Martens
    and Grosse, ICML 2015, arXiv:1503.05671.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from secateur_server.pruning.distillation.network import Inputs, Parameters, differentiable
from secateur_server.pruning.graph import Array, Graph, Operator
from secateur_server.pruning.linear import NO_BIAS, as_matrix, is_linear, layout, rows
from secateur_server.pruning.taps import is_depthwise, tap_rows

DAMPING = 1e-2
"""Added to the covariance, times the mean of its diagonal: directions that are nearly empty
are not blown up."""

MAX_FEATURES = 1024
"""Of more, only the size of each feature is evened out: a matrix of their covariances would
cost more than the convolution."""

SMALLEST = 1e-12

POSITIONS = 128
"""Looked at in each sample."""

TAP_POSITIONS = 16
"""The same for a depthwise convolution, which has a handful of taps per channel."""

Matrix = npt.NDArray[np.float64]
Values = dict[int, Array]
"""By storage."""


@dataclass(frozen=True, slots=True)
class Whitening:
    """How one operator's weights are seen.

    Attributes:
        weights: Their storage.
        bias: Its storage; ``None``: there is none, and the mean stays.
        shape: Of the weights.
        mean: [blocks, 1, features].
        spread: A, [blocks, features, features], or its diagonal [blocks, features, 1].
    """

    operator: Operator
    weights: int
    bias: int | None
    shape: tuple[int, ...]
    mean: Array
    spread: Array

    def inward(self, values: Mapping[int, Array]) -> Values:
        """Give V and c for W and b."""
        laid = np.asarray(_as_blocks(self.operator, values[self.weights], len(self.mean)))
        solved = laid / self.spread if self._is_diagonal else np.linalg.solve(self.spread, laid)
        found: Values = {self.weights: solved.astype(np.float32)}
        if self.bias is not None:
            found[self.bias] = values[self.bias] + (self.mean @ laid).ravel()
        return found

    def outward(self, seen: Mapping[int, jax.Array | Array]) -> Parameters:
        """Give W and b for V and c."""
        inner = jnp.asarray(seen[self.weights])
        spread = jnp.asarray(self.spread)
        laid = spread * inner if self._is_diagonal else spread @ inner
        found: Parameters = {self.weights: _from_blocks(self.operator, laid, self.shape)}
        if self.bias is not None:
            found[self.bias] = jnp.asarray(seen[self.bias]) - (self.mean @ laid).ravel()
        return found

    @property
    def _is_diagonal(self) -> bool:
        _blocks, features, others = self.spread.shape
        return bool(features != others)


class Coordinates:
    """All of a student's parameters, seen from where learning is easy."""

    def __init__(self, whitenings: Iterable[Whitening]) -> None:
        self._whitenings = tuple(whitenings)

    def inward(self, values: Mapping[int, Array]) -> Values:
        """Give the coordinates of parameters."""
        found = dict(values)
        for each in self._whitenings:
            found.update(each.inward(values))
        return found

    def outward(self, seen: Mapping[int, jax.Array] | Mapping[int, Array]) -> Parameters:
        """Give the parameters at coordinates."""
        found = {key: jnp.asarray(value) for key, value in seen.items()}
        for each in self._whitenings:
            found.update(each.outward(seen))
        return found


def measure(student: Graph, batches: Iterable[Inputs]) -> Coordinates:
    """Choose coordinates by what a student's operators see on some samples."""
    operators = [each for each in student.operators if _is_apart(student, each)]
    wanted = [each.inputs[layout(each).data] for each in operators]
    run = jax.jit(differentiable(student, wanted))
    sums = [_Sums() for _ in operators]
    for inputs in batches:
        for operator, held, seen in zip(operators, sums, run({}, *inputs), strict=True):
            held.add(_rows(student, operator, np.asarray(seen)))
    return Coordinates(map(_whitening, [student] * len(sums), operators, sums))


def _is_apart(graph: Graph, operator: Operator) -> bool:
    """Whether an operator's weights and bias are linear and nobody else's."""
    if not is_linear(graph, operator) and not is_depthwise(graph, operator):
        return False
    place = layout(operator)
    slots = [place.weights, *[place.bias] * (place.bias != NO_BIAS)]
    held = [operator.inputs[k] for k in slots if k < len(operator.inputs)]
    return all(tensor < 0 or len(graph.users(tensor)) == 1 for tensor in held)


def _rows(graph: Graph, operator: Operator, seen: Array) -> Array:
    """Lay an operator's input out, [blocks, rows, features]."""
    if operator.kind == "DEPTHWISE_CONV_2D":
        return tap_rows(graph, operator, seen, TAP_POSITIONS).transpose(2, 0, 1)
    return rows(graph, operator, seen, POSITIONS, operator.index)[None]


class _Sums:
    """Of rows, of their products, and how many rows they are."""

    def __init__(self) -> None:
        self.count = 0
        self.x: Matrix = np.zeros(())
        self.xx: Matrix = np.zeros(())

    def add(self, laid: Array) -> None:
        self.count += laid.shape[1]
        self.x = self.x + laid.sum(axis=1, keepdims=True, dtype=np.float64)
        is_wide = laid.shape[2] > MAX_FEATURES
        products = (laid**2).sum(axis=1) if is_wide else laid.transpose(0, 2, 1) @ laid
        self.xx = self.xx + products


def _whitening(graph: Graph, operator: Operator, sums: _Sums) -> Whitening:
    place = layout(operator)
    held = operator.inputs[place.bias] if 0 <= place.bias < len(operator.inputs) else -1
    bias = graph.tensors[held].storage if held >= 0 else None
    mean = sums.x / sums.count if bias is not None else np.zeros_like(sums.x)
    is_full = sums.xx.ndim > mean.ndim - 1
    square = mean.transpose(0, 2, 1) @ mean if is_full else mean[:, 0] ** 2
    weights = graph.tensors[operator.inputs[place.weights]]
    return Whitening(
        operator,
        weights.storage,
        bias,
        weights.shape,
        mean.astype(np.float32),
        _inverse_root(sums.xx / sums.count - square),
    )


def _inverse_root(covariance: Matrix) -> Array:
    """Of [blocks, features, features], or of diagonals [blocks, features]."""
    is_full = covariance.ndim > 2  # noqa: PLR2004 - blocks, rows, columns
    powers = np.diagonal(covariance, axis1=1, axis2=2) if is_full else covariance
    damping = DAMPING * np.maximum(powers.mean(axis=1, keepdims=True), SMALLEST)
    if not is_full:
        return np.asarray(1 / np.sqrt(powers + damping), np.float32)[..., None]
    found, directions = np.linalg.eigh(covariance)
    roots = 1 / np.sqrt(np.maximum(found, 0) + damping)
    return np.asarray((directions * roots[:, None]) @ directions.transpose(0, 2, 1), np.float32)


def _as_blocks(operator: Operator, weights: Array, blocks: int) -> npt.NDArray[np.floating]:
    """Lay weights out as [blocks, features, outputs of each]."""
    if operator.kind == "DEPTHWISE_CONV_2D":
        taps = weights.shape[1] * weights.shape[2]
        return weights.reshape(taps, blocks, -1).transpose(1, 0, 2)
    return as_matrix(operator, weights)[None]


def _from_blocks(operator: Operator, laid: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Undo `_as_blocks`."""
    if operator.kind == "DEPTHWISE_CONV_2D":
        return laid.transpose(1, 0, 2).reshape(shape)
    is_plain = operator.kind == "BATCH_MATMUL" and not operator.options.adjY
    return (laid[0] if is_plain else laid[0].T).reshape(shape)
