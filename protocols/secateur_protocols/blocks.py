"""Files in blocks over MQTT, for devices to which HTTP is not open.

A device asks for a few blocks from an offset, and asks on as they come. What it has is on
its own disk: no session is kept on the other side, so either may restart at any moment.

A block is a head, one line of JSON, and after its newline the bytes as they are: in JSON
they would be a third longer.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from secateur_protocols.codec import MAX_MESSAGE_BYTES, decode_document
from secateur_protocols.errors import MalformedMessageError, OversizedMessageError
from secateur_protocols.message import Message
from secateur_protocols.presence import Counter
from secateur_protocols.telemetry import Bytes

BLOCK_BYTES = 63 * 1024
"""Of a file in one block; with its head and topic a message stays below 65,536 (rule W9)."""

MIN_BLOCK_BYTES = 4096

MAX_BLOCKS = 8
"""In one request: half a megabyte on its way to one device, as much as a long link holds."""

MAX_HEAD_BYTES = 768

RepositoryPath = Annotated[
    str,
    StringConstraints(
        pattern=r"^(?:blobs/[0-9a-f]{64}|metadata/[A-Za-z0-9][A-Za-z0-9._-]{0,99})$"
    ),
]
"""A file of the repository: a blob, or what is signed about them."""


class BlockError(StrEnum):
    """Why there is no block."""

    NOT_FOUND = "not_found"
    BEYOND_END = "beyond_end"
    """The offset is past the end of the file: what the device holds is no part of it."""


class BlocksRequest(Message):
    """A device's wish for the next blocks of a file.

    The same request twice brings the same blocks twice, and a device drops those that it
    does not wait for.
    """

    request: Counter
    """Grows by one with each request of this boot; the blocks repeat it (rule W5)."""
    path: RepositoryPath
    offset: Bytes
    """Of the first byte wanted."""
    blocks: Annotated[int, Field(ge=1, le=MAX_BLOCKS)]
    """At most; the last block of a file ends them."""
    block_bytes: Annotated[int, Field(ge=MIN_BLOCK_BYTES, le=BLOCK_BYTES)] = BLOCK_BYTES
    """In each. On a slow link a large block takes longer than a device waits for it."""


class Block(Message):
    """The head of a block. The bytes follow its newline."""

    request: Counter
    path: RepositoryPath
    offset: Bytes
    """Of the first byte in this block."""
    total_bytes: Bytes
    """Of the whole file; 0 where there is an error."""
    error: BlockError | None = None
    """``None``: here are the bytes."""


def encode_block(head: Block, content: bytes = b"") -> bytes:
    """Write a block.

    Raises:
        ValueError: More than `BLOCK_BYTES`: our own mistake.
    """
    if len(content) > BLOCK_BYTES:
        msg = f"a block of {len(content)} bytes is too long to send"
        raise ValueError(msg)
    return head.model_dump_json(exclude_none=True).encode() + b"\n" + content


def decode_block(payload: bytes) -> tuple[Block, memoryview]:
    """Read a block: its head, and its bytes where they are.

    Raises:
        ProtocolError: It is too long, or has no head.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise OversizedMessageError(len(payload), MAX_MESSAGE_BYTES)
    end = payload.find(b"\n", 0, MAX_HEAD_BYTES)
    if end < 0:
        raise MalformedMessageError(Block.__name__, "no head")
    return decode_document(Block, payload[:end]), memoryview(payload)[end + 1 :]
