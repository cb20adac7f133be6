"""Least squares: let every operator make up for what left, front to back.

The pruned network runs over the calibration set. At each weighted operator whose input is
no longer what it was, the weights that stay are fitted so that on what it sees now it
computes what the original computed before its activation. So errors of the layers before
are seen and made up for as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from secateur_server.pruning.channels import Channels, Ids
from secateur_server.pruning.divergence import compared
from secateur_server.pruning.execution import Frontier, Values
from secateur_server.pruning.graph import Array, Graph, Operator
from secateur_server.pruning.linear import (
    NO_BIAS,
    as_matrix,
    from_matrix,
    is_linear,
    layout,
    output_units,
    rows,
    weights_of,
)
from secateur_server.pruning.moments import Matrix, Moments, pieces, sum_up
from secateur_server.pruning.narrowing import Stays, narrow
from secateur_server.pruning.quantization import Quantization
from secateur_server.pruning.taps import TapMoments, is_depthwise, tap_rows
from secateur_server.pruning.teacher import Teacher

RIDGE = 1e-3
"""Pull towards the weights that are there, times the mean second moment."""

RIDGE_FEW = 1e-2
"""The same with fewer than `FEW_SAMPLES` samples."""

FEW_SAMPLES = 150

CLAMPS = {1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
"""By TFLite's code of an activation: RELU, RELU_N1_TO_1 and RELU6."""


@dataclass(frozen=True, slots=True)
class Reconstructed:
    """A narrowed network, fitted.

    Attributes:
        outputs: By output tensor, of all samples, those fitted to first; those that the
            engine could compute.
    """

    graph: Graph
    outputs: dict[int, Values]


def reconstruct(  # noqa: PLR0913 - how much of the teacher is used, and what changed
    graph: Graph,
    channels: Channels,
    stays: Stays,
    teacher: Teacher,
    *,
    samples: int | None = None,
    fitted_to: int | None = None,
    changed: Iterable[int] = (),
    passes: int = 0,
) -> Reconstructed:
    """Narrow a network and fit the weights that stay.

    Args:
        graph: The original, or the original without some of its operators.
        channels: Of ``graph``.
        stays: Which channels stay.
        teacher: What the original computes.
        samples: How many of the teacher's are run. ``None``: all.
        fitted_to: To how many of these, the first ones, weights are fitted. ``None``: all.
        changed: Tensors that are not what they were in the original.
        passes: How often a fit before a clamping activation is repeated for what the
            activation lets through.

    Returns:
        The narrowed network and its outputs. Where an operator cannot be run, what follows
        is only sliced.
    """
    count = teacher.samples if samples is None else min(samples, teacher.samples)
    run = _Run(graph, channels, stays, teacher, slice(0, count), fitted_to or count)
    run.passes = passes
    run.changed.update(changed)
    outputs: dict[int, Values] = {}
    for operator in graph.operators:
        outputs.update(run.advance(operator))
    return Reconstructed(run.narrowed, outputs)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Weights and a bias that an activation follows, which clamps to ``low`` .. ``high``."""

    clamp: tuple[float, float]
    weights: Array
    bias: Array

    def forgive(self, wanted: Array, seen: Array) -> Array:
        """Give targets that differ from what this fit makes only where it shows.

        Source:
            Minimising ||act(Y) - act(X W)||^2 by majorization: He et al., ICCV 2017,
            arXiv:1707.06168, fit before the activation; Zhang et al., "Accelerating Very
            Deep Convolutional Networks", arXiv:1505.06798, section 3.2, after it.
        """
        found = seen @ self.weights + self.bias
        low, high = self.clamp
        targets = np.where(wanted <= low, np.minimum(found, low), wanted)
        return np.where(wanted >= high, np.maximum(found, high), targets)


def clamp_of(operator: Operator) -> tuple[float, float] | None:
    """Give between which bounds an operator's activation clamps; ``None``: it does not."""
    return CLAMPS.get(int(getattr(operator.options, "fusedActivationFunction", 0)))


class _Run:
    """The narrowed network at one operator."""

    def __init__(
        self,
        graph: Graph,
        channels: Channels,
        stays: Stays,
        teacher: Teacher,
        used: slice,
        fitted_to: int,
    ) -> None:
        self.graph = graph
        self.narrowed = narrow(graph, channels, stays)
        self.changed: set[int] = set()
        self.passes = 0
        self._compared = compared(graph)
        self._channels = channels
        self._stays = stays
        self._teacher = teacher
        self._fitted_to = fitted_to
        self._ridge = RIDGE_FEW if fitted_to < FEW_SAMPLES else RIDGE
        self._frontier = Frontier(
            graph, {tensor: values[used] for tensor, values in teacher.feeds.items()}
        )

    def advance(self, operator: Operator) -> dict[int, Values]:
        """Fit an operator if it is to be, run it, and give what it makes that is `compared`."""
        values = self._frontier.values
        if self._is_to_fit(operator):
            seen = values.get(operator.inputs[layout(operator).data])
            if seen is not None:
                self._fit(operator, seen[: self._fitted_to])
        if self._has_changed(operator):
            self.changed.update(operator.outputs)
        self._frontier.step(self.narrowed, self.narrowed.operators[operator.index])
        done = {k: values[k] for k in self._compared.intersection(operator.outputs)}
        self._frontier.release(operator)
        return {tensor: found for tensor, found in done.items() if found is not None}

    def _has_changed(self, operator: Operator) -> bool:
        now = self.narrowed.operators[operator.index]
        return now.inputs != operator.inputs or any(
            k in self.changed or self.graph.tensors[k] is not self.narrowed.tensors[k]
            for k in (*operator.inputs, *operator.outputs)
            if k >= 0
        )

    def _is_to_fit(self, operator: Operator) -> bool:
        is_weighted = is_linear(self.graph, operator) or is_depthwise(self.graph, operator)
        if not is_weighted or operator.outputs[0] not in self._teacher.targets:
            return False
        place = layout(operator)
        return (
            operator.inputs[place.data] in self.changed
            and len(self.graph.users(operator.inputs[place.weights])) == 1
        )

    def _fit(self, operator: Operator, seen: Values) -> None:
        sliced = weights_of(self.narrowed, operator)
        if sliced is None:
            return
        if is_depthwise(self.graph, operator):
            weights, bias = self._fit_taps(operator, seen, sliced)
        else:
            weights, bias = self._fit_matrix(operator, seen, sliced)
        self.narrowed = with_parameters(self.narrowed, operator, weights, bias)

    def _fit_matrix(
        self, operator: Operator, seen: Values, sliced: Array
    ) -> tuple[Array, Array | None]:
        moments = self._moments(operator, seen, sliced)
        start = as_matrix(operator, sliced).astype(np.float64)
        if layout(operator).bias == NO_BIAS:
            solved = solve(moments.xx, moments.xy, start, self._ridge)
            return from_matrix(operator, solved, sliced), None
        solved = solve(*moments.centred(), start, self._ridge)
        bias = ((moments.y - moments.x @ solved) / moments.count).astype(np.float32)
        for _ in range(self.passes if clamp_of(operator) is not None else 0):
            found = _Fit(
                clamp_of(operator) or (-np.inf, np.inf), solved.astype(np.float32), bias
            )
            # The inputs are the same, and summing them up is most of the work.
            moments = moments.with_targets(self._moments(operator, seen, sliced, found))
            solved = solve(*moments.centred(), solved, self._ridge)
            bias = ((moments.y - moments.x @ solved) / moments.count).astype(np.float32)
        return from_matrix(operator, solved, sliced), bias

    def _moments(
        self, operator: Operator, seen: Values, sliced: Array, fit: "_Fit | None" = None
    ) -> Moments:
        """Sum up what the narrowed operator sees and what the original made of what it saw.

        With a fit at hand, only the targets are summed up, and those that the activation
        clamps are moved to where this fit is already right.
        """
        outputs = self._outputs(operator)
        per_sample, seed = self._teacher.per_sample[operator.outputs[0]], operator.outputs[0]

        def add(moments: Moments, part: slice) -> None:
            now = rows(self.narrowed, operator, seen[part], per_sample, seed)
            wanted = self._teacher.target(operator, part)[:, outputs]
            if fit is None:
                moments.add(now, wanted)
            else:
                moments.add_targets(now, fit.forgive(wanted, now))

        parts = pieces(len(seen), 4 * per_sample * sliced[0].size)
        return sum_up(Moments, add, parts)

    def _fit_taps(
        self, operator: Operator, seen: Values, sliced: Array
    ) -> tuple[Array, Array | None]:
        outputs = self._outputs(operator)
        per_sample = self._teacher.per_sample[operator.outputs[0]]
        taps = sliced.shape[1] * sliced.shape[2]
        multiplier = int(operator.options.depthMultiplier)

        def nothing() -> TapMoments:
            return TapMoments(taps, len(outputs) // multiplier, multiplier)

        def add(moments: TapMoments, part: slice) -> None:
            now = tap_rows(self.narrowed, operator, seen[part], per_sample)
            moments.add(now, self._teacher.target(operator, part)[:, outputs])

        moments = sum_up(nothing, add, pieces(len(seen), 4 * per_sample * sliced.size))
        return moments.solve(sliced, self._ridge)

    def _outputs(self, operator: Operator) -> Ids:
        """Give the outputs that stay."""
        units = output_units(self.graph, self._channels, operator)
        return np.flatnonzero(self._stays[units])


def solve(xx: Matrix, xy: Matrix, start: Matrix, ridge: float) -> Matrix:
    """Minimise ||Y - X W||^2 + pull ||W - start||^2 over W.

    Args:
        xx: X'X, [features, features].
        xy: X'Y, [features, outputs].
        start: [features, outputs].
        ridge: ``pull`` in units of the mean of the diagonal of ``xx``.

    Returns:
        W, [features, outputs].

    Source:
        He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017,
        arXiv:1707.06168, section 3.1, with a ridge towards the weights that are there.
    """
    pull = ridge * max(float(np.trace(xx)) / len(xx), 1e-12)
    damped = xx + pull * np.eye(len(xx))
    return np.asarray(np.linalg.solve(damped, xy + pull * start), np.float64)


def with_parameters(
    graph: Graph, operator: Operator, weights: Array, bias: Array | None
) -> Graph:
    """Put fitted values in, as the codes of a quantized model would hold them.

    Args:
        graph: The narrowed network.
        operator: Whose weights these are.
        weights: In its own layout.
        bias: [outputs]. ``None``: it has none, or keeps the one it has.
    """
    place = layout(operator)
    index = graph.operators[operator.index].inputs[place.weights]
    tensor = graph.tensors[index]
    quantization = tensor.quantization
    if quantization is not None and tensor.dtype is not None:
        quantization = quantization.refit(weights, tensor.dtype)
        weights = quantization.dequantize(quantization.quantize(weights, tensor.dtype))
    graph = graph.with_values(index, weights, quantization)
    if bias is None:
        return graph
    slots = graph.operators[operator.index].inputs
    held = slots[place.bias] if place.bias < len(slots) else -1
    if held < 0 or len(graph.users(held)) > 1:
        graph = graph.with_constant(operator.index, place.bias, bias)
        held = graph.operators[operator.index].inputs[place.bias]
    return graph.with_values(held, bias, sum_quantization(graph, operator, quantization))


def sum_quantization(
    graph: Graph, operator: Operator, weights: Quantization | None
) -> Quantization | None:
    """Give the scale of the sums: input scale x weight scale."""
    data = graph.tensors[operator.inputs[layout(operator).data]].quantization
    if data is None or weights is None:
        return None
    scales = data.scales[0] * weights.scales
    return Quantization(scales, np.zeros(len(scales), np.int64), axis=0)
