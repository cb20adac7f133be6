"""How several models share the processor: so many inferences at a time, most urgent first."""

import heapq
import threading
from itertools import count


class Turnstile:
    """Lets a number of lanes infer at a time; of those that wait, the earliest deadline goes.

    An inference that has begun is not interrupted.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._numbers = count()
        self._waiting: list[tuple[float, int, threading.Lock]] = []
        self._lock = threading.Lock()

    def enter(self, due_s: float) -> None:
        """Wait for a place.

        Args:
            due_s: When the answer is due, on the monotonic clock.
        """
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            heapq.heappush(self._waiting, (due_s, next(self._numbers), turn))
        turn.acquire()

    def leave(self) -> None:
        """Hand the place to whoever is due first."""
        with self._lock:
            if self._waiting:
                heapq.heappop(self._waiting)[2].release()
            else:
                self._free += 1
