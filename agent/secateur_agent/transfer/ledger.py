"""What transfers may cost: bytes in 30 days, counted on disk."""

import threading
import time
from pathlib import Path

from secateur_agent.adapters.files import write_atomically
from secateur_agent.errors import AgentError, PermanentError
from secateur_protocols.codec import decode_document
from secateur_protocols.errors import ProtocolError
from secateur_protocols.message import Message
from secateur_protocols.ota import ReasonCode
from secateur_protocols.presence import Counter

PERIOD_S = 30 * 86_400

UNSAVED_BYTES = 1 << 20
"""Counted in memory only; as much as a power cut forgets."""


class Spent(Message):
    """What ``transfer.json`` holds."""

    period: Counter
    """Since 1970. A clock that is behind begins no new one."""
    bytes: Counter


class BudgetError(PermanentError):
    """The byte budget is spent."""

    def __init__(self, budget_bytes: int) -> None:
        msg = f"{budget_bytes} bytes in 30 days are spent"
        super().__init__(msg, ReasonCode.METERED_BUDGET)


class Ledger:
    """Counts the bytes of all transfers. Used from any thread."""

    def __init__(self, path: Path | None, budget_bytes: int | None) -> None:
        """Go on counting.

        Args:
            path: Where the count is kept. ``None``: in memory only.
            budget_bytes: In 30 days. ``None``: without end.
        """
        self._path = path
        self._budget = budget_bytes
        self._lock = threading.Lock()
        self._spent = _read(path)
        self._unsaved = 0

    def afford(self, count: int) -> None:
        """Make sure that so many more bytes may come.

        Raises:
            BudgetError: They may not.
        """
        with self._lock:
            self._turn_page()
            if self._budget is not None and self._spent.bytes + count > self._budget:
                raise BudgetError(self._budget)

    def spend(self, count: int) -> None:
        """Count bytes that came.

        Raises:
            BudgetError: There must be no more.
        """
        with self._lock:
            self._spent = Spent(period=self._spent.period, bytes=self._spent.bytes + count)
            self._unsaved += count
            if self._unsaved >= UNSAVED_BYTES:
                self._save()
            if self._budget is not None and self._spent.bytes > self._budget:
                raise BudgetError(self._budget)

    def save(self) -> None:
        """Write down what was counted; a disk that takes nothing is no reason to stop."""
        with self._lock:
            if self._unsaved:
                self._save()

    def _turn_page(self) -> None:
        period = int(time.time() // PERIOD_S)
        if period > self._spent.period:
            self._spent = Spent(period=period, bytes=0)

    def _save(self) -> None:
        self._unsaved = 0
        if self._path is None or self._budget is None:
            return
        try:
            write_atomically(self._path, self._spent.model_dump_json().encode())
        except AgentError:
            return


def _read(path: Path | None) -> Spent:
    try:
        if path is not None:
            return decode_document(Spent, path.read_bytes())
    except (OSError, ProtocolError):
        pass
    return Spent(period=0, bytes=0)
