"""Whose block is next: one for each device in turn, and a bound on what may wait."""

from collections import OrderedDict, deque
from dataclasses import dataclass

from secateur_protocols.blocks import BlocksRequest

MAX_DEVICES = 10_000
"""More are not listened to: they ask again."""

MAX_REQUESTS = 4
"""Of one device at a time; of more, the oldest is forgotten, as its device has moved on."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One block that a device asked for."""

    device: str
    request: int
    path: str
    offset: int
    size_bytes: int


@dataclass(slots=True)
class _Rest:
    request: BlocksRequest
    sent: int = 0


class BlockQueue:
    """Requests that are being answered."""

    def __init__(self) -> None:
        self._devices: OrderedDict[str, deque[_Rest]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._devices)

    def add(self, device: str, request: BlocksRequest) -> bool:
        """Take a request. False: too many devices wait.

        A device that asks again for what it asked before did not get it in time: the older
        request is forgotten, so that impatience does not add to the load.
        """
        if device not in self._devices and len(self._devices) >= MAX_DEVICES:
            return False
        waiting = self._devices.setdefault(device, deque(maxlen=MAX_REQUESTS))
        while waiting and _covers(request, waiting[-1].request):
            waiting.pop()
        waiting.append(_Rest(request))
        return True

    def next(self) -> Piece | None:
        """Take out the next block. ``None``: nobody waits."""
        if not self._devices:
            return None
        device, waiting = self._devices.popitem(last=False)
        rest = waiting[0]
        asked = rest.request
        piece = Piece(
            device=device,
            request=asked.request,
            path=asked.path,
            offset=asked.offset + rest.sent * asked.block_bytes,
            size_bytes=asked.block_bytes,
        )
        rest.sent += 1
        if rest.sent >= asked.blocks:
            waiting.popleft()
        if waiting:
            self._devices[device] = waiting
        return piece

    def end(self, piece: Piece) -> None:
        """Forget what is left of the request that this block was for: the file ends here."""
        waiting = self._devices.get(piece.device)
        if waiting and waiting[0].request.request == piece.request:
            waiting.popleft()
            if not waiting:
                del self._devices[piece.device]


def _covers(newer: BlocksRequest, older: BlocksRequest) -> bool:
    return newer.path == older.path and newer.offset <= older.offset
