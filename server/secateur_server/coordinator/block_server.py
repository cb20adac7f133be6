"""Answers requests for blocks, on a connection and a thread of its own.

Planning never waits for it: the coordinator's own connection carries no block.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from secateur_protocols.blocks import Block, BlockError, BlocksRequest, encode_block
from secateur_protocols.codec import decode
from secateur_protocols.errors import ProtocolError
from secateur_protocols.topics import ANY, Leaf, device_topic, parse_device_topic
from secateur_server.adapters.broker import Broker, Received, Subscription
from secateur_server.core.block_queue import BlockQueue, Piece
from secateur_server.registry.reading import RepositoryFiles

MAX_IN_FLIGHT = 32
"""Blocks that the broker has not confirmed: two megabytes of memory, for all devices."""

LONGEST_WAIT_S = 10.0
"""For the broker to confirm the oldest, seconds; then it counts as lost: its device asks
again."""

POLL_S = 0.002


class BlockServer:
    """Serves the registry's files in blocks."""

    def __init__(
        self, broker_url: str, *, site: str, root: Path, owns: Callable[[str], bool]
    ) -> None:
        """Make it; nothing is connected yet.

        Args:
            broker_url: Where devices ask.
            site: Whose devices.
            root: Of the registry.
            owns: Whether it is us who answers a device, asked on the client's thread.
        """
        self._site = site
        self._owns = owns
        self._files = RepositoryFiles(root)
        self._queue = BlockQueue()
        self._news = threading.Condition()
        self._in_flight: deque[Callable[[], bool]] = deque()
        self._is_over = False
        requests = device_topic(site, ANY, Leaf.BLOCKS_REQUEST)
        self._broker = Broker(
            broker_url, subscriptions=[Subscription(requests)], on_message=self._hear
        )
        self._thread = threading.Thread(target=self._serve, daemon=True, name="blocks")

    def start(self) -> None:
        """Answer from now on.

        Raises:
            InputError: There is no broker.
        """
        self._broker.start()
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        with self._news:
            self._is_over = True
            self._news.notify_all()
        if self._thread.is_alive():
            self._thread.join(LONGEST_WAIT_S)
        self._broker.stop()

    def _hear(self, received: Received) -> None:
        try:
            device = parse_device_topic(received.topic).device
            request = decode(BlocksRequest, received.payload)
        except ProtocolError:
            return  # who asks for nonsense gets nothing
        if self._owns(device):
            with self._news:
                self._queue.add(device, request)
                self._news.notify_all()

    def _serve(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._is_over or len(self._queue) > 0)
                if self._is_over:
                    return
                piece = self._queue.next()
            if piece is not None and self._has_room():
                self._answer(piece)

    def _has_room(self) -> bool:
        """Wait until the broker has taken enough; false: there is no broker to take more."""
        until_s = time.monotonic() + LONGEST_WAIT_S
        while len(self._in_flight) >= MAX_IN_FLIGHT and self._broker.is_connected:
            if self._in_flight[0]() or time.monotonic() > until_s or self._is_over:
                self._in_flight.popleft()
            else:
                time.sleep(POLL_S)
        if not self._broker.is_connected:
            self._in_flight.clear()  # what was sent is sent again by the client
            return False
        return True

    def _answer(self, piece: Piece) -> None:
        part = self._files.read(piece.path, piece.offset, piece.size_bytes)
        error = None
        if part is None:
            error = BlockError.NOT_FOUND
        elif not part.content:
            error = BlockError.BEYOND_END
        if part is None or piece.offset + len(part.content) >= part.total_bytes:
            with self._news:
                self._queue.end(piece)
        head = Block(
            request=piece.request,
            path=piece.path,
            offset=piece.offset,
            total_bytes=part.total_bytes if part else 0,
            error=error,
        )
        topic = device_topic(self._site, piece.device, Leaf.BLOCKS_DATA)
        payload = encode_block(head, part.content if part else b"")
        self._in_flight.append(_confirmed(self._broker.publish(topic, payload)))


def _confirmed(is_published: Callable[[], bool]) -> Callable[[], bool]:
    def is_confirmed() -> bool:
        try:
            return is_published()
        except (RuntimeError, ValueError):  # the connection went as it was sent
            return True

    return is_confirmed
