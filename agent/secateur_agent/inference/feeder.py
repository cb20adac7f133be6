"""Runs a source on a thread of its own, and again when it fails."""

import threading
import time
from collections.abc import Callable
from random import SystemRandom

from secateur_agent.core.backoff import backoff_s
from secateur_agent.engine import Tensor
from secateur_agent.inference.frame import Frame
from secateur_agent.source import Source, SourceError

LEAST_S, CAP_S = 0.2, 30.0
"""Between two tries of a source that failed: at least this, and at most that, seconds."""

STEADY_S = 60.0
"""A source that ran for so long has recovered: its next failure counts as the first."""


class Feeder(threading.Thread):
    """One source, kept running until stopped."""

    def __init__(
        self, source: Source, offer: Callable[[Frame], None], complain: Callable[[str], None]
    ) -> None:
        super().__init__(name="source", daemon=True)
        self._source = source
        self._put = offer
        self._complain = complain
        self._beginning = threading.Lock()
        self._has_begun = False
        self._stopping = threading.Event()

    def begin(self) -> None:
        """Start, at the first call."""
        with self._beginning:
            if not self._has_begun:
                self._has_begun = True
                self.start()

    def stop(self) -> None:
        """Ask the source to end and wait for it, 10 seconds at most."""
        self._stopping.set()
        if self._has_begun:
            self.join(timeout=10.0)

    def run(self) -> None:
        """Run the source; after a failure wait longer each time, and run it again."""
        failures = 0
        while not self._stopping.is_set():
            began_s = time.monotonic()
            problem = self._try()
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - began_s > STEADY_S else failures + 1
            self._complain(f"source: {problem}")
            chance = SystemRandom().random()
            self._stopping.wait(LEAST_S + backoff_s(failures, chance=chance, cap_s=CAP_S))

    def _try(self) -> str:
        try:
            self._source.run(self._offer, self._stopping)
        except SourceError as error:
            return str(error)
        # A source may be a third party's: what it raises must not end the process.
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"
        return "it ended"

    def _offer(
        self, sample: Tensor, label: int | None = None, arrived_s: float | None = None
    ) -> None:
        self._put(Frame(time.monotonic() if arrived_s is None else arrived_s, sample, label))
