"""Second moments of what linear operators see, summed up piece by piece."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.graph import Array

CHUNK_BYTES = 1 << 27
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


def pieces(samples: int, sample_bytes: int) -> Iterator[slice]:
    """Cut samples into pieces whose rows fit into memory.

    Args:
        samples: How many there are.
        sample_bytes: What the rows of one take.
    """
    step = max(1, CHUNK_BYTES // max(sample_bytes, 1))
    return (slice(k, min(k + step, samples)) for k in range(0, samples, step))
