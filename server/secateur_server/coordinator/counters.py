"""What a coordinator has met since it started, in numbers: for operators."""

from collections import Counter
from enum import StrEnum

from pydantic import JsonValue

MAX_NAMED = 1_000
"""Devices that are counted one by one; more are only in the totals."""

MAX_SHOWN = 10


class Met(StrEnum):
    """What can come in."""

    HEARD = "heard"
    LATE = "late"
    """Older than what is known, or said before. Many of one device: two use its name."""
    MALFORMED = "malformed"
    """No message: not JSON, a value out of its bounds, NaN, too long."""
    UNKNOWN_TOPIC = "unknown_topic"
    TOO_MANY_DEVICES = "too_many_devices"
    NOT_OURS = "not_ours"
    """Left to another replica."""
    CONFLICT = "conflict"
    """Another replica decided first; its decision was taken over."""


class Counters:
    """Totals, and for what is wrong also by device, bounded."""

    def __init__(self) -> None:
        self._totals: Counter[Met] = Counter()
        self._by_device: dict[Met, Counter[str]] = {}

    def count(self, what: Met, device: str | None = None) -> None:
        """Count one message."""
        self._totals[what] += 1
        if device is not None:
            named = self._by_device.setdefault(what, Counter())
            if device in named or len(named) < MAX_NAMED:
                named[device] += 1

    def total(self, what: Met) -> int:
        """Give how many there were."""
        return self._totals[what]

    def describe(self) -> dict[str, JsonValue]:
        """Give the totals, and who is behind most of what is wrong."""
        return {
            "messages": {str(what): self._totals[what] for what in Met},
            "worst": {
                str(what): dict(named.most_common(MAX_SHOWN))
                for what, named in self._by_device.items()
            },
        }
