"""Frames from a file, at a fixed rate, as a camera would hand them over."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from secateur_agent.engine import Tensor
from secateur_agent.errors import ConfigError
from secateur_agent.inference.commands import ReplaySpec
from secateur_agent.source import Offer


class ReplaySource:
    """Hands out the rows of an ``.npz``; at its end it begins again.

    Frames fall due at fixed times, counted from the first. One that is handed over late
    has its due time as arrival, so that the delay counts as latency.
    """

    def __init__(self, spec: ReplaySpec) -> None:
        """Read the file.

        Raises:
            ConfigError: It is missing, is no ``.npz``, or holds no usable ``x``.
        """
        self._samples, self._labels = _read(Path(spec.path))
        self._period_s = 1.0 / spec.rate_hz
        self._next = 0

    @property
    def sample(self) -> Tensor:
        """The first row."""
        first: Tensor = self._samples[0]
        return first

    def run(self, offer: Offer, stopping: threading.Event) -> None:
        """Offer row after row as each falls due."""
        due_s = arrived_s = time.monotonic()
        while True:
            wait_s = due_s - time.monotonic()
            # What was slept for arrives when we wake: the sleep is ours, not the lane's.
            is_late = wait_s <= 0
            if stopping.wait(wait_s) if not is_late else stopping.is_set():
                return
            index = self._next % len(self._samples)
            label = None if self._labels is None else int(self._labels[index])
            # After a sleep that was too long the next one is due already; it comes after all
            # the same.
            arrived_s = max(arrived_s, due_s) if is_late else time.monotonic()
            offer(self._samples[index], label, arrived_s)
            self._next += 1
            due_s += self._period_s


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
