"""Requests out, blocks in: what lies between transfers and the MQTT client."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

from secateur_protocols.blocks import MAX_BLOCKS, BlocksRequest, decode_block

Blocks = queue.Queue[bytes]
"""Payloads that wait for their transfer: a bounded number; of more, the newest are dropped."""


class BlockChannel:
    """Gives each transfer the blocks of its file. Used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, Blocks] = {}
        self._requests = count(1)
        self._send: Callable[[BlocksRequest], None] | None = None

    def attach(self, send: Callable[[BlocksRequest], None]) -> None:
        """Send by this from now on; without a connection it does nothing."""
        self._send = send

    def deliver(self, payload: bytes) -> None:
        """Hand a block to whoever waits for it, from the client's thread.

        Raises:
            ProtocolError: It is no block.
        """
        head, _ = decode_block(payload)
        with self._lock:
            waiting = self._waiting.get(head.path)
        if waiting is not None:
            with suppress(queue.Full):  # it will be asked for again
                waiting.put_nowait(payload)

    @contextmanager
    def listening(self, path: str) -> Iterator[Blocks]:
        """Collect the blocks of a file until the block ends; one transfer per file."""
        blocks: Blocks = queue.Queue(2 * MAX_BLOCKS)
        with self._lock:
            self._waiting[path] = blocks
        try:
            yield blocks
        finally:
            with self._lock:
                self._waiting.pop(path, None)

    def ask(self, path: str, offset: int, *, blocks: int, block_bytes: int) -> None:
        """Ask for blocks of a file."""
        if self._send is not None:
            self._send(
                BlocksRequest(
                    request=next(self._requests),
                    path=path,
                    offset=offset,
                    blocks=blocks,
                    block_bytes=block_bytes,
                )
            )
