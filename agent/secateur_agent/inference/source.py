"""Where frames come from."""

import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur_agent.engine import Tensor
from secateur_agent.errors import ConfigError
from secateur_agent.inference.commands import ReplaySpec


@dataclass(frozen=True, slots=True)
class Frame:
    """One request.

    Attributes:
        number: Grows by one with each frame of the source, from 0.
        arrived_s: On the monotonic clock.
        sample: One input, without the batch axis.
        label: The right answer, where it is known.
    """

    number: int
    arrived_s: float
    sample: Tensor
    label: int | None


class ReplaySource:
    """Hands out the rows of an ``.npz`` at a fixed rate, as a camera would.

    Frames fall due at fixed times. One that falls due while the lane is busy waits, with
    its due time as arrival; when more than ``queue`` wait, the oldest are dropped. Used by
    one thread.
    """

    def __init__(self, spec: ReplaySpec) -> None:
        """Read the file.

        Raises:
            ConfigError: It is missing, is no ``.npz``, or holds no usable ``x``.
        """
        self._samples, self._labels = _read(Path(spec.path))
        self._period_s = 1.0 / spec.rate_hz
        self._queue: deque[Frame] = deque()
        self._queue_limit = spec.queue
        self._next_number = 0
        self._next_due_s: float | None = None
        self.offered = 0
        self.dropped = 0

    @property
    def sample(self) -> Tensor:
        """One sample, for warming a model up."""
        first: Tensor = self._samples[0]
        return first

    def take(self, stopping: threading.Event) -> Frame | None:
        """Wait for the oldest frame; ``None`` once ``stopping`` is set.

        The first call starts the clock: nothing is offered before somebody can answer.
        """
        if self._next_due_s is None:
            self._next_due_s = time.monotonic()
        self._gather(time.monotonic())
        if not self._queue:
            if stopping.wait(max(0.0, self._next_due_s - time.monotonic())):
                return None
            self._gather(max(time.monotonic(), self._next_due_s), woken_s=time.monotonic())
        return None if stopping.is_set() else self._queue.popleft()

    def _gather(self, now_s: float, woken_s: float | None = None) -> None:
        """Queue what has fallen due; ``woken_s`` is the arrival of what was slept for."""
        while self._next_due_s is not None and self._next_due_s <= now_s:
            index = self._next_number % len(self._samples)
            label = None if self._labels is None else int(self._labels[index])
            arrived_s = self._next_due_s if woken_s is None else woken_s
            self._queue.append(Frame(self._next_number, arrived_s, self._samples[index], label))
            self.offered += 1
            self._next_number += 1
            self._next_due_s += self._period_s
        while len(self._queue) > self._queue_limit:
            self._queue.popleft()
            self.dropped += 1


def _read(path: Path) -> tuple[Tensor, Tensor | None]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            samples: np.ndarray[Any, Any] = arrays["x"]
            labels = arrays.get("y")
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror or 'not an .npz file'}"
        raise ConfigError(problem) from error
    except (KeyError, ValueError, EOFError, AttributeError) as error:
        problem = f"{path} is not an .npz file with an array x"
        raise ConfigError(problem) from error
    if samples.ndim < 1 or len(samples) == 0 or samples.dtype.kind not in "fiu":
        problem = f"{path}: x must hold at least one row of numbers"
        raise ConfigError(problem)
    if labels is not None and (
        labels.shape != (len(samples),) or labels.dtype.kind not in "iu"
    ):
        problem = f"{path}: y must hold one integer label per row of x"
        raise ConfigError(problem)
    return samples, labels
