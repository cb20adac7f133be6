"""What the original network computes on the calibration set, where pruning looks at it.

One pass from the first operator to the last; what stays are sums and samples: second
moments of what consumers see, what weighted operators computed before their activation at
some positions, and the network's outputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from secateur_server.pruning.channels import Channels
from secateur_server.pruning.divergence import compared
from secateur_server.pruning.execution import Frontier, Values
from secateur_server.pruning.graph import Array, Graph, Operator
from secateur_server.pruning.linear import (
    as_matrix,
    bias_of,
    has_movable_features,
    is_linear,
    layout,
    rows,
    weights_of,
)
from secateur_server.pruning.moments import Moments, pieces, sum_up
from secateur_server.pruning.taps import is_depthwise, tap_outputs, tap_rows

Tick = Callable[[float], None]
"""Told the share that is done, 0 to 1."""

MAX_ROWS = 32_768
"""Positions looked at for one linear operator: moments of a few thousand features are
settled."""

MAX_TAP_ROWS = 4_096
"""The same for a depthwise convolution, which has a handful of unknowns per channel."""

MAX_TARGET_BYTES = 1 << 29
"""Of all targets together; of more, fewer positions are looked at."""

Feeds = Mapping[int, Values]
"""Samples by input tensor, each [n, *shape]."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """What narrower networks are fitted to and judged by.

    Attributes:
        feeds: The calibration set as the graph takes it.
        samples: How many there are.
        moments: Centred second moments of their inputs, by operator, for the linear ones
            that channels may leave from and that the engine could run up to.
        targets: By the output tensor of a weighted operator, [rows, outputs], before its
            activation; rows in the order of the samples.
        per_sample: By the same, how many positions of each sample were asked for.
        outputs: By tensor that networks are `compared` by, [n, *shape]; those that the engine
            could compute.
    """

    feeds: Feeds
    samples: int
    moments: dict[int, Array]
    targets: dict[int, Array]
    per_sample: dict[int, int]
    outputs: dict[int, Values]

    def target(self, operator: Operator, part: slice) -> Array:
        """Give an operator's targets for some of the samples, [rows, outputs]."""
        held = self.targets[operator.outputs[0]]
        each = len(held) // self.samples
        return held[part.start * each : part.stop * each]


def listen(graph: Graph, channels: Channels, feeds: Feeds, tick: Tick) -> Teacher:
    """Run the original network once over the calibration set.

    Args:
        graph: The network.
        channels: Its channels.
        feeds: The calibration set.
        tick: Told how far it is.
    """
    samples = len(next(iter(feeds.values())))
    teacher = Teacher(feeds, samples, {}, {}, _positions(graph, samples), {})
    frontier, wanted = Frontier(graph, feeds), compared(graph)
    for operator in graph.operators:
        if operator.outputs and operator.outputs[0] in teacher.per_sample:
            seen = frontier.values.get(operator.inputs[layout(operator).data])
            if seen is not None:
                _note(teacher, graph, channels, operator, seen)
        frontier.step(graph, operator)
        for tensor in wanted.intersection(operator.outputs):
            found = frontier.values[tensor]
            if found is not None:
                teacher.outputs[tensor] = found
        frontier.release(operator)
        tick((operator.index + 1) / len(graph.operators))
    return teacher


def _positions(graph: Graph, samples: int) -> dict[int, int]:
    """Say how many positions of each sample are looked at, by output tensor."""
    wanted: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for operator in graph.operators:
        is_taps = is_depthwise(graph, operator)
        if is_taps or is_linear(graph, operator):
            shape = graph.tensors[operator.outputs[0]].shape
            most = (MAX_TAP_ROWS if is_taps else MAX_ROWS) // samples
            wanted[operator.outputs[0]] = max(1, min(most, int(np.prod(shape[:-1]))))
            sizes[operator.outputs[0]] = 4 * samples * shape[-1]
    total = sum(sizes[tensor] * count for tensor, count in wanted.items())
    share = min(1.0, MAX_TARGET_BYTES / max(total, 1))
    return {tensor: max(1, int(share * count)) for tensor, count in wanted.items()}


def _note(
    teacher: Teacher, graph: Graph, channels: Channels, operator: Operator, seen: Values
) -> None:
    """Keep what an operator sees, as moments, and what it makes of it, as targets."""
    weights, bias, output = (
        weights_of(graph, operator),
        bias_of(graph, operator),
        operator.outputs[0],
    )
    if weights is None:
        return
    per_sample, made = teacher.per_sample[output], dict[int, Array]()
    is_taps = is_depthwise(graph, operator)
    is_read = not is_taps and has_movable_features(graph, channels, operator)
    matrix = None if is_taps else as_matrix(operator, weights)

    def add(moments: Moments, part: slice) -> None:
        if matrix is None:
            laid = tap_rows(graph, operator, seen[part], per_sample)
            made[part.start] = tap_outputs(operator, laid, weights)
            return
        looked = rows(graph, operator, seen[part], per_sample, output)
        made[part.start] = looked @ matrix
        if is_read:
            moments.add(looked, np.zeros((len(looked), 0), np.float32))

    row_bytes = 4 * int(np.prod(weights.shape[1:]))
    moments = sum_up(Moments, add, pieces(len(seen), row_bytes * per_sample))
    targets = np.concatenate([made[start] for start in sorted(made)])
    teacher.targets[output] = targets if bias is None else targets + bias
    if is_read:
        teacher.moments[operator.index] = (moments.centred()[0] / moments.count).astype(
            np.float32
        )
