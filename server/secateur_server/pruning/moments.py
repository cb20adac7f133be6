"""Second moments of what linear operators see, summed up piece by piece."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.graph import Array, Graph, Operator
from secateur_server.pruning.linear import rows

MAX_ROWS = 32_768
"""Positions used for one operator: moments of a few thousand features are settled."""

CHUNK_BYTES = 1 << 28
"""Of rows that are laid out at a time."""

Matrix = npt.NDArray[np.float64]


@dataclass(slots=True)
class Moments:
    """Sums over rows of inputs x [rows, features] and targets y [rows, outputs]."""

    count: int = 0
    x: Matrix = field(default_factory=lambda: np.zeros(0))
    y: Matrix = field(default_factory=lambda: np.zeros(0))
    xx: Matrix = field(default_factory=lambda: np.zeros((0, 0)))
    xy: Matrix = field(default_factory=lambda: np.zeros((0, 0)))

    def add(self, inputs: Array, targets: Array) -> None:
        """Take more rows into account; of no outputs where only the inputs count."""
        # Products in single precision, sums in double: what is added up is large, not small.
        if not self.count:
            self.x, self.y = np.zeros(inputs.shape[1]), np.zeros(targets.shape[1])
            self.xx = np.zeros((inputs.shape[1], inputs.shape[1]))
            self.xy = np.zeros((inputs.shape[1], targets.shape[1]))
        self.count += len(inputs)
        self.x += inputs.sum(axis=0, dtype=np.float64)
        self.y += targets.sum(axis=0, dtype=np.float64)
        self.xx += inputs.T @ inputs
        self.xy += inputs.T @ targets

    def centred(self) -> tuple[Matrix, Matrix]:
        """Give the second moments about the means: of x with x, and of x with y."""
        mean = self.x / self.count
        return self.xx - np.outer(mean, self.x), self.xy - np.outer(mean, self.y)


def input_moments(graph: Graph, operator: Operator, values: Array) -> Moments:
    """Sum up what an operator sees.

    Args:
        graph: Where it stands.
        operator: A linear operator.
        values: Its input, [n, *shape].
    """
    found = Moments()
    for part, per_sample in pieces(graph, operator, len(values)):
        seen = rows(graph, operator, values[part], per_sample, operator.index)
        found.add(seen, np.zeros((len(seen), 0), np.float32))
    return found


def pieces(graph: Graph, operator: Operator, count: int) -> list[tuple[slice, int]]:
    """Cut samples into pieces whose rows fit into memory, and say how many rows of each."""
    weights = graph.tensors[operator.inputs[1]].shape
    row_bytes = 4 * int(np.prod(weights)) // max(min(weights[0], weights[-1]), 1)
    per_sample = max(1, MAX_ROWS // count)
    step = max(1, CHUNK_BYTES // max(row_bytes * per_sample, 1))
    return [(slice(k, k + step), per_sample) for k in range(0, count, step)]
