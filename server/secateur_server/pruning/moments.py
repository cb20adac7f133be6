"""Second moments of what linear operators see, summed up piece by piece."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.graph import Array
from secateur_server.pruning.sharing import WORKERS, share

CHUNK_BYTES = 1 << 24
"""Of rows that are laid out at a time: about what stays in the processor's cache."""

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
            self.x = np.zeros(inputs.shape[1])
            self.xx = np.zeros((inputs.shape[1], inputs.shape[1]))
        self.x += inputs.sum(axis=0, dtype=np.float64)
        self.xx += inputs.T @ inputs
        self.add_targets(inputs, targets)

    def add_targets(self, inputs: Array, targets: Array) -> None:
        """Take more rows into account, but of the inputs only how they go with the targets."""
        if not self.count:
            self.y = np.zeros(targets.shape[1])
            self.xy = np.zeros((inputs.shape[1], targets.shape[1]))
        self.count += len(inputs)
        self.y += targets.sum(axis=0, dtype=np.float64)
        self.xy += inputs.T @ targets

    def with_targets(self, other: Self) -> Self:
        """Give the same inputs with the targets that another sum has seen."""
        return replace(self, y=other.y, xy=other.xy)

    def merge(self, other: Self) -> None:
        """Take what others summed up into account."""
        if not self.count:
            self.x, self.y, self.xx, self.xy = other.x, other.y, other.xx, other.xy
        elif other.count:
            self.x += other.x
            self.y += other.y
            self.xx += other.xx
            self.xy += other.xy
        self.count += other.count

    def centred(self) -> tuple[Matrix, Matrix]:
        """Give the second moments about the means: of x with x, and of x with y."""
        mean = self.x / self.count
        return self.xx - np.outer(mean, self.x), self.xy - np.outer(mean, self.y)


class Sums(Protocol):
    """Sums over rows."""

    def merge(self, other: Self) -> None:
        """Take what others summed up into account."""


AnySums = TypeVar("AnySums", bound=Sums)


def sum_up(
    nothing: Callable[[], AnySums],
    add: Callable[[AnySums, slice], None],
    parts: Sequence[slice],
) -> AnySums:
    """Sum up over pieces of the samples, several at a time.

    Args:
        nothing: Makes a sum of nothing.
        add: Adds a piece to a sum.
        parts: The pieces.
    """

    def sum_some(mine: Sequence[slice]) -> AnySums:
        sums = nothing()
        for part in mine:
            add(sums, part)
        return sums

    first, *others = share(sum_some, [parts[k::WORKERS] for k in range(WORKERS)])
    for other in others:
        first.merge(other)
    return first


def pieces(samples: int, sample_bytes: int) -> list[slice]:
    """Cut samples into pieces: enough for all workers, and none too large for the cache.

    Args:
        samples: How many there are.
        sample_bytes: What the rows of one take.
    """
    step = min(max(1, CHUNK_BYTES // max(sample_bytes, 1)), -(-samples // WORKERS))
    return [slice(k, min(k + step, samples)) for k in range(0, samples, step)]
