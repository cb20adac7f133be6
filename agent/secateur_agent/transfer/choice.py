"""Either way, whichever works: HTTP first, blocks where HTTP is not open."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import TypeVar

from secateur_agent.adapters.clock import monotonic_s
from secateur_agent.errors import TransientError
from secateur_agent.transfer.opening import UnreachableError
from secateur_agent.transfer.port import CanceledError, Progress, Repository, ignore
from secateur_protocols.logs import LogEvent, about

log = logging.getLogger("secateur.agent")

CLOSED_S = (300.0, 600.0)
"""How long HTTP is not tried again once it did not open: drawn between these, seconds."""

T = TypeVar("T")


class HttpMemory:
    """Remembers that HTTP is not open here. Shared by all transfers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed_until_s = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether HTTP is not worth a try now."""
        with self._lock:
            return monotonic_s() < self._closed_until_s

    def close(self) -> None:
        """Remember that it did not open."""
        with self._lock:
            self._closed_until_s = monotonic_s() + SystemRandom().uniform(*CLOSED_S)

    def forget(self) -> None:
        """Try HTTP the next time."""
        with self._lock:
            self._closed_until_s = 0.0


class EitherRepository:
    """HTTP, and where no connection is to be had, blocks from the same byte on."""

    def __init__(self, http: Repository, blocks: Repository, memory: HttpMemory) -> None:
        self._http = http
        self._blocks = blocks
        self._memory = memory

    def bring(
        self, path: str, into: Path, *, size_bytes: int, progress: Progress = ignore
    ) -> None:
        """Bring a file; see `Repository`."""
        self._either(
            lambda way: way.bring(path, into, size_bytes=size_bytes, progress=progress)
        )

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Read a small file; see `Repository`."""
        return self._either(lambda way: way.read(path, max_bytes=max_bytes))

    def _either(self, go: Callable[[Repository], T]) -> T:
        if not self._memory.is_closed:
            try:
                return go(self._http)
            except UnreachableError as error:
                told = about(LogEvent.HTTP_CLOSED)
                log.info("%s: trying blocks over MQTT", error, extra=told)
                self._memory.close()
        try:
            return go(self._blocks)
        except CanceledError:
            raise
        except TransientError:
            self._memory.forget()  # neither worked: begin with HTTP again
            raise
