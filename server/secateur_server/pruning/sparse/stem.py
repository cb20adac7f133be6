"""Fit a shifted stem to what the stem computed before it was shifted."""

from collections.abc import Mapping

import numpy as np

from secateur_server.pruning.execution import Frontier, Values
from secateur_server.pruning.graph import Graph, Operator
from secateur_server.pruning.linear import as_matrix, from_matrix, rows, weights_of
from secateur_server.pruning.moments import Moments, pieces, sum_up
from secateur_server.pruning.sparse.roles import Role, role_of

RIDGE = 1e-3
"""Pull towards the weights that are there, times the mean second moment."""

MAX_ROWS = 65_536
"""Positions looked at."""


def repair_stem(original: Graph, shifted: Graph, feeds: Mapping[int, Values]) -> Graph:
    """Fit the weights of every stem by least squares; biases stay.

    Args:
        original: Before it was rewritten.
        shifted: After; tensors have the same numbers.
        feeds: The calibration set by input tensor, [n, *shape].
    """
    for stem in shifted.operators:
        before = original.maker(stem.outputs[0])
        is_head = stem.kind == "CONV_2D" and role_of(shifted, stem) is Role.HEAD
        if is_head and before is not None and before.inputs[0] != stem.inputs[0]:
            seen = _input_of(original, before, feeds)
            now = _input_of(shifted, stem, feeds)
            if seen is not None and now is not None:
                shifted = _fit(original, before, shifted, stem, (seen, now))
    return shifted


def _input_of(graph: Graph, wanted: Operator, feeds: Mapping[int, Values]) -> Values | None:
    frontier = Frontier(graph, feeds)
    for operator in graph.operators[: wanted.index]:
        frontier.step(graph, operator)
        frontier.release(operator)
    return frontier.values.get(wanted.inputs[0])


def _fit(
    original: Graph,
    before: Operator,
    shifted: Graph,
    stem: Operator,
    inputs: tuple[Values, Values],
) -> Graph:
    weights = weights_of(original, before)
    if weights is None:
        return shifted
    start = as_matrix(before, weights).astype(np.float64)
    count = len(inputs[0])
    per_sample = max(1, MAX_ROWS // count)

    def add(moments: Moments, part: slice) -> None:
        was = rows(original, before, inputs[0][part], per_sample, 0)
        now = rows(shifted, stem, inputs[1][part], per_sample, 0)
        moments.add(now, was @ start.astype(np.float32))

    moments = sum_up(Moments, add, pieces(count, 4 * per_sample * len(start)))
    pull = RIDGE * float(np.trace(moments.xx)) / len(start) * np.eye(len(start))
    solved = np.linalg.solve(moments.xx + pull, moments.xy + pull @ start)
    fitted = from_matrix(stem, solved.astype(np.float64), weights)
    return shifted.with_values(stem.inputs[1], fitted, None)
