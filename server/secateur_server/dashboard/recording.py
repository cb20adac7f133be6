"""Telemetry as it came, within bounds: what charts are drawn from and what-if replays.

Bytes, not objects: ten thousand devices fit, and who looks at one device decodes one device.
"""

from collections import OrderedDict, deque
from typing import NamedTuple

MAX_BYTES = 48 * 1024 * 1024
"""Of all payloads; above it the oldest go. Ten thousand devices that speak every
ten seconds fill it in about a minute and a half, three that speak each second in hours."""

MAX_PER_DEVICE = 400
"""Messages of one device; more points than a chart has pixels help nobody."""


class Recorded(NamedTuple):
    """One message.

    Attributes:
        at_s: When it came, UTC seconds since 1970, by our clock.
        payload: Undecoded.
    """

    at_s: float
    payload: bytes


class Recording:
    """What devices have said lately, by device; who spoke longest ago is first."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, max_per_device: int = MAX_PER_DEVICE
    ) -> None:
        self._max_bytes = max_bytes
        self._max_per_device = max_per_device
        self._by_device: OrderedDict[str, deque[Recorded]] = OrderedDict()
        self.held_bytes = 0

    def add(self, device: str, payload: bytes, at_s: float) -> None:
        """Keep one message; let go of the oldest that has no room any more."""
        kept = self._by_device.setdefault(device, deque())
        self._by_device.move_to_end(device)
        kept.append(Recorded(at_s, payload))
        self.held_bytes += len(payload)
        if len(kept) > self._max_per_device:
            self.held_bytes -= len(kept.popleft().payload)
        while self.held_bytes > self._max_bytes:
            self._drop_one()

    def of(self, device: str) -> list[Recorded]:
        """Give what is kept of one device, oldest first."""
        return list(self._by_device.get(device, ()))

    def forget(self, device: str) -> None:
        """Keep nothing of a device."""
        kept = self._by_device.pop(device, ())
        self.held_bytes -= sum(len(each.payload) for each in kept)

    def devices(self) -> list[str]:
        """Name those of whom something is kept."""
        return list(self._by_device)

    def _drop_one(self) -> None:
        """Let go of the oldest of who spoke longest ago: while all speak, of each in turn."""
        device, kept = next(iter(self._by_device.items()))
        self.held_bytes -= len(kept.popleft().payload)
        if not kept:
            del self._by_device[device]
