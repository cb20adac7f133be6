"""What happens in the control process, and what is due: one queue, one consumer's."""

import heapq
import queue
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from secateur_agent.adapters.broker import BrokerEvent
from secateur_agent.adapters.clock import monotonic_s
from secateur_agent.adapters.inference import InferenceDied
from secateur_agent.core import agent
from secateur_agent.inference.commands import Reply


@dataclass(frozen=True, slots=True)
class Quit:
    """The process was asked to end."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something is wrong that does not keep the agent from serving."""

    problem: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker's answer."""

    event: agent.Swap | agent.Standby


Happening = BrokerEvent | Reply | InferenceDied | Finished | Trouble | Quit


@dataclass(order=True)
class _Timer:
    at_s: float
    number: int
    run: Callable[[], None] = field(compare=False)


class Happenings:
    """One queue and its timers. Any thread posts; all else is the consumer's."""

    def __init__(self) -> None:
        self._posted: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        self._timers: list[_Timer] = []
        self._numbers = count()

    def post(self, happening: Happening) -> None:
        """Put something that happened on the queue, from any thread."""
        self._posted.put(happening)

    def after(self, delay_s: float, run: Callable[[], None]) -> None:
        """Let something be run by `next` after a while; of the same moment, in this order."""
        timer = _Timer(monotonic_s() + delay_s, next(self._numbers), run)
        heapq.heappush(self._timers, timer)

    def next(self) -> Happening | None:
        """Wait for a happening until the next timer is due, and run what is due."""
        wait_s = max(0.0, self._timers[0].at_s - monotonic_s()) if self._timers else None
        try:
            return self._posted.get(timeout=wait_s)
        except queue.Empty:
            heapq.heappop(self._timers).run()
            return None
