"""One errand to the repository: what holds for a file whichever way it comes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

from secateur_agent.transfer.ledger import Ledger
from secateur_agent.transfer.partial import PartialFile
from secateur_agent.transfer.port import Progress, Repository, ignore
from secateur_agent.transfer.watch import POLL_S, Watch


class Turns:
    """One transfer per file at a time: two that append to it would spoil it."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._taken: set[str] = set()

    @contextmanager
    def taking(self, path: str, watch: Watch) -> Iterator[None]:
        """Wait for the turn, unless canceled.

        Raises:
            CanceledError: Nobody needs it any more.
        """
        with self._lock:
            while path in self._taken:
                watch.rest(0.0)
                self._lock.wait(POLL_S)
            self._taken.add(path)
        try:
            yield
        finally:
            with self._lock:
                self._taken.discard(path)
                self._lock.notify_all()


class Errand:
    """A repository with turns, a budget and a late start."""

    def __init__(
        self,
        repository: Repository,
        *,
        watch: Callable[[str], Watch],
        turns: Turns,
        ledger: Ledger,
        spread_s: float,
    ) -> None:
        self._repository = repository
        self._watch = watch
        self._turns = turns
        self._ledger = ledger
        self._spread_s = spread_s

    def bring(
        self, path: str, into: Path, *, size_bytes: int, progress: Progress = ignore
    ) -> None:
        """Bring a file; see `Repository`."""
        watch = self._watch(path)
        with self._turns.taking(path, watch), self._counted():
            self._ledger.afford(size_bytes - PartialFile(into, size_bytes).held_bytes())
            watch.rest(SystemRandom().uniform(0.0, self._spread_s))
            self._repository.bring(path, into, size_bytes=size_bytes, progress=progress)

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Read a small file; see `Repository`."""
        with self._turns.taking(path, self._watch(path)), self._counted():
            self._ledger.afford(0)
            return self._repository.read(path, max_bytes=max_bytes)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._ledger.save()
