"""What a transfer must keep to while it waits: still needed, never silent, never too slow."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from secateur_agent.adapters.clock import monotonic_s
from secateur_agent.errors import TransientError
from secateur_agent.transfer.port import CanceledError, IsCanceled
from secateur_protocols.ota import ReasonCode

POLL_S = 0.2
"""Longest time until a cancel is noticed, seconds."""

PACED_SHARE = 0.1
"""Of the rate limit: slower than this is too slow where the limit itself is low."""


@dataclass(frozen=True, slots=True)
class Patience:
    """When a transfer is given up, and how fast it may be.

    Attributes:
        silence_s: Longest time without a byte; a cellular link stalls for ten seconds.
        slow_bytes_per_s: Less than this over ``slow_s`` is too slow: a trickle must not
            hold up an update for ever.
        rate_bytes_per_s: All transfers together, on average. ``None``: as fast as it goes.
    """

    silence_s: float = 20.0
    slow_bytes_per_s: float = 500.0
    slow_s: float = 60.0
    rate_bytes_per_s: float | None = None

    @property
    def floor_bytes_per_s(self) -> float:
        """The rate below which a transfer is too slow."""
        if self.rate_bytes_per_s is None:
            return self.slow_bytes_per_s
        return min(self.slow_bytes_per_s, PACED_SHARE * self.rate_bytes_per_s)


class Pace:
    """Spreads the bytes of all transfers over time. Shared by their threads."""

    def __init__(self, rate_bytes_per_s: float | None) -> None:
        self._rate = rate_bytes_per_s
        self._lock = threading.Lock()
        self._free_s = 0.0

    def reserve(self, count: int) -> float:
        """Take the time that these bytes are worth; say how long that is from now, seconds."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now_s = monotonic_s()
            starts_s = max(now_s, self._free_s)
            self._free_s = starts_s + count / self._rate
            return self._free_s - now_s


class Watch:
    """Watches one transfer, on its own thread."""

    def __init__(
        self,
        path: str,
        patience: Patience,
        *,
        is_canceled: IsCanceled,
        pace: Pace,
        spend: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Begin to watch.

        Args:
            path: What is transferred, for messages.
            patience: When to give up.
            is_canceled: Whether nobody needs it any more.
            pace: How fast it may be.
            spend: Told of all bytes that came; raises when there must be no more.
        """
        self._path = path
        self._patience = patience
        self._is_canceled = is_canceled
        self._pace = pace
        self._spend = spend
        self._heard_s = self._since_s = monotonic_s()
        self._count = 0

    @property
    def rate_bytes_per_s(self) -> float | None:
        """Give the limit of the rate. ``None``: there is none."""
        return self._patience.rate_bytes_per_s

    def check(self) -> None:
        """Say whether to wait on; call it at least every `POLL_S`.

        Raises:
            CanceledError: Nobody needs it any more.
            TransientError: Nothing came for too long, or too little.
        """
        if self._is_canceled():
            raise CanceledError(self._path)
        now_s = monotonic_s()
        if now_s - self._heard_s > self._patience.silence_s:
            msg = f"{self._path}: nothing came for {self._patience.silence_s:g} s"
            raise TransientError(msg, ReasonCode.TIMEOUT)
        if now_s - self._since_s < self._patience.slow_s:
            return
        rate = self._count / (now_s - self._since_s)
        if rate < self._patience.floor_bytes_per_s:
            msg = f"{self._path}: {rate:.0f} bytes per second is too slow"
            raise TransientError(msg, ReasonCode.TIMEOUT)
        self._since_s, self._count = now_s, 0

    def received(self, count: int) -> None:
        """Take note of bytes that came, and wait as long as the pace asks.

        Raises:
            AgentError: As `check` does, or there must be no more.
        """
        self._spend(count)
        self._count += count
        self._heard_s = monotonic_s()
        self.check()
        self.rest(self._pace.reserve(count))

    def rest(self, delay_s: float) -> None:
        """Wait on purpose, unless canceled. It counts as no silence.

        Raises:
            CanceledError: Nobody needs it any more.
        """
        until_s = monotonic_s() + delay_s
        if self._is_canceled():
            raise CanceledError(self._path)
        while (left_s := until_s - monotonic_s()) > 0:
            time.sleep(min(POLL_S, left_s))
            if self._is_canceled():
                raise CanceledError(self._path)
        self._heard_s = monotonic_s()
