"""One thread that hands a lane a frame and waits for the answer."""

import threading
import time
from math import prod

import numpy as np

from secateur_agent.engine import Tensor, TensorInfo
from secateur_agent.inference.frame import Frame, Outcome, Unanswered
from secateur_agent.inference.lane import Lane


class _Waiting:
    """One answer to come. A bare lock is the cheapest thing that a thread can wait for."""

    def __init__(self) -> None:
        self.outcome: Outcome = Unanswered("no answer in time", is_dropped=False)
        self._settled = threading.Lock()
        self._settled.acquire()

    def settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._settled.release()

    def wait(self, timeout_s: float) -> None:
        self._settled.acquire(timeout=timeout_s)


def ask(lane: Lane, sample: Tensor, timeout_s: float) -> Outcome:
    """Let a lane answer one frame, after those that wait already.

    Whatever is swapped meanwhile, one artifact answers it.

    Returns:
        The answer, or why there is none: pushed out by later frames, failed, or not there
        after ``timeout_s`` seconds.
    """
    waiting = _Waiting()
    lane.intake.offer(Frame(time.monotonic(), sample, settle=waiting.settle))
    waiting.wait(timeout_s)
    return waiting.outcome


def objection(info: TensorInfo, sample: Tensor) -> str | None:
    """Say why a sample must not reach a lane; ``None``: it may.

    A lane takes a frame that fails for a fault of the artifact: a caller's mistake would roll
    a good one back.
    """
    if sample.size != prod(info.shape):
        return f"{sample.size} numbers where the model takes {prod(info.shape)}"
    if sample.dtype.kind not in "fiub":
        return f"{sample.dtype} is no type of numbers"
    if sample.dtype.kind == "f" and not np.isfinite(sample).all():
        return "every number must be finite"
    return None
