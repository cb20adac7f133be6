"""What waits for one lane: frames of its source and requests of callers, in one queue."""

import queue
import threading
from collections.abc import Callable

from secateur_agent.engine import Tensor
from secateur_agent.inference.feeder import Feeder
from secateur_agent.inference.frame import Frame, Unanswered
from secateur_agent.source import Source


class Intake:
    """A bounded queue of frames; of more than may wait, the oldest are dropped and counted.

    Any thread offers; the lane's own takes.
    """

    def __init__(
        self, limit: int, source: Source | None, complain: Callable[[str], None]
    ) -> None:
        """Make it; nothing is offered before `open`.

        Args:
            limit: Frames that may wait. 1: the latest frame wins.
            source: Where frames come from. ``None``: from callers alone.
            complain: Told, on another thread, whenever the source failed.
        """
        self.offered = 0
        self.dropped = 0
        self._limit = limit
        self._source = source
        self._counting = threading.Lock()
        self._waiting: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._feeder = Feeder(source, self.offer, complain) if source is not None else None

    @property
    def sample(self) -> Tensor | None:
        """One sample, for warming a model up; ``None``: none is known."""
        return self._source.sample if self._source is not None else None

    def open(self) -> None:
        """Let the source begin, if it has not: somebody can answer now."""
        if self._feeder is not None:
            self._feeder.begin()

    def close(self) -> None:
        """End the source."""
        if self._feeder is not None:
            self._feeder.stop()

    def refuse_rest(self) -> None:
        """Tell callers who still wait that nobody will answer them."""
        while (frame := self.take(0.0)) is not None:
            if frame.settle is not None:
                frame.settle(Unanswered("the agent ends", is_dropped=True))

    def offer(self, frame: Frame) -> None:
        """Let a frame wait for the lane; it may push out the oldest one."""
        with self._counting:
            self.offered += 1
            self._waiting.put(frame)
            oldest = self._pop_surplus()
        if oldest is not None and oldest.settle is not None:
            oldest.settle(Unanswered("too many frames wait", is_dropped=True))

    def take(self, timeout_s: float) -> Frame | None:
        """Wait for the oldest frame; ``None`` after ``timeout_s`` seconds without one."""
        try:
            return self._waiting.get(True, timeout_s)
        except queue.Empty:
            return None

    def _pop_surplus(self) -> Frame | None:
        if self._waiting.qsize() <= self._limit:
            return None
        try:
            oldest = self._waiting.get_nowait()
        except queue.Empty:  # the lane took it meanwhile
            return None
        self.dropped += 1
        return oldest
