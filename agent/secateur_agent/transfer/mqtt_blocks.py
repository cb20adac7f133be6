"""The repository in blocks over MQTT: what the device holds says where to go on."""

import queue
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from secateur_agent.adapters.clock import monotonic_s
from secateur_agent.core import block_window
from secateur_agent.core.block_window import BlockWindow
from secateur_agent.errors import AgentError, TransientError
from secateur_agent.transfer.channel import BlockChannel, Blocks
from secateur_agent.transfer.partial import PartialFile
from secateur_agent.transfer.port import NotFoundError, Progress, TooLongError, ignore
from secateur_agent.transfer.watch import POLL_S, Watch
from secateur_protocols.blocks import Block, BlockError, decode_block
from secateur_protocols.ota import ReasonCode


class BlockRepository:
    """The coordinator's repository, through the broker."""

    def __init__(self, channel: BlockChannel, watch: Callable[[str], Watch]) -> None:
        self._channel = channel
        self._watch = watch

    def bring(
        self, path: str, into: Path, *, size_bytes: int, progress: Progress = ignore
    ) -> None:
        """Bring a file; see `Repository`."""
        partial = PartialFile(into, size_bytes)
        window = self._begin(path, size_bytes, partial.held_bytes())
        if window.is_complete:
            return
        try:
            with partial.appending(window.offset) as file:
                for content, received in self._contents(path, window):
                    file.write(content)
                    progress(received, size_bytes)
        except _BeyondEndError as error:
            partial.discard()  # what we hold does not belong to what they have
            raise TransientError(str(error), error.reason) from error

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Read a small file; see `Repository`."""
        total = self._size(path)
        if total > max_bytes:
            raise TooLongError(path, max_bytes)
        window = self._begin(path, total, 0)
        return b"".join(bytes(content) for content, _ in self._contents(path, window))

    def _begin(self, path: str, size_bytes: int, offset: int) -> BlockWindow:
        rate = self._watch(path).rate_bytes_per_s
        return block_window.begin(
            size_bytes, offset=offset, now_s=monotonic_s(), rate_bytes_per_s=rate
        )

    def _size(self, path: str) -> int:
        window = block_window.begin(1, offset=0, now_s=monotonic_s())
        with self._channel.listening(path) as blocks:
            watch = self._watch(path)
            while True:
                window = self._ask(path, window)
                head, _ = _next_block(blocks, watch) or (None, None)
                if head is not None:
                    return head.total_bytes

    def _contents(self, path: str, window: BlockWindow) -> Iterator[tuple[memoryview, int]]:
        """Yield the bytes in their order, each with how many there are by then."""
        watch = self._watch(path)
        with self._channel.listening(path) as blocks:
            while not window.is_complete:
                window = self._ask(path, window)
                found = _next_block(blocks, watch)
                if found is None:
                    continue
                head, content = found
                window, taken = block_window.take(
                    window, head.offset, len(content), now_s=monotonic_s()
                )
                if taken:
                    yield content[:taken], window.offset

    def _ask(self, path: str, window: BlockWindow) -> BlockWindow:
        window, wanted = block_window.ask(window, now_s=monotonic_s())
        if wanted is not None:
            try:
                self._channel.ask(
                    path, wanted.offset, blocks=wanted.blocks, block_bytes=wanted.block_bytes
                )
            except ValidationError as error:
                raise NotFoundError(path, "no path of a repository") from error
        return window


class _BeyondEndError(AgentError):
    """The file ends before the byte that we asked for."""


def _next_block(blocks: Blocks, watch: Watch) -> tuple[Block, memoryview] | None:
    """Wait a little for a block.

    Raises:
        AgentError: The other side has no such block, or the watch says to stop.
    """
    try:
        payload = blocks.get(timeout=POLL_S)
    except queue.Empty:
        watch.check()
        return None
    watch.received(len(payload))
    head, content = decode_block(payload)
    match head.error:
        case None:
            return head, content
        case BlockError.NOT_FOUND:
            raise NotFoundError(head.path)
        case BlockError.BEYOND_END:
            msg = f"{head.path} ends before byte {head.offset}"
            raise _BeyondEndError(msg, ReasonCode.DIGEST_MISMATCH)
