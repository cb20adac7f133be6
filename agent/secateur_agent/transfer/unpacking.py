"""Unpacks a file while it comes, in bounded memory, and no further than it is asked to."""

import zlib
from typing import Protocol

from secateur_agent.errors import TransientError
from secateur_protocols.ota import ReasonCode

GZIP = "gzip"
"""The encoding, as HTTP names it."""

PACKED_CHUNK_BYTES = 16_384

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
"""As zlib wants it said: with the head and the sum of a gzip file."""


class PackedError(TransientError):
    """What comes packed is not what it should be; unpacked it may be had all the same."""


class Readable(Protocol):
    """What bytes come from."""

    def read1(self, count: int, /) -> bytes:
        """Give up to so many bytes, as soon as there are any; none: it has ended."""


class Unpacked:
    """The body of a response that is packed by gzip."""

    def __init__(self, packed: Readable, path: str, max_packed_bytes: int) -> None:
        """Begin to unpack.

        Args:
            packed: The body as it comes.
            path: For messages.
            max_packed_bytes: Nobody packs a file to make it larger: more is not read.
        """
        self._packed = packed
        self._path = path
        self._left_bytes = max_packed_bytes
        self._gzip = zlib.decompressobj(_GZIP_WINDOW)
        self._rest = b""

    def read1(self, count: int, /) -> bytes:
        """Give up to so many bytes of the file; none: it has ended.

        Raises:
            PackedError: It is not packed by gzip, or longer packed than not.
        """
        while True:
            content = self._unpack(count)
            if content or self._gzip.eof:
                return content
            self._rest = self._packed.read1(PACKED_CHUNK_BYTES)
            self._left_bytes -= len(self._rest)
            if self._left_bytes < 0:
                msg = f"{self._path} is longer packed than it should be unpacked"
                raise PackedError(msg, ReasonCode.DIGEST_MISMATCH)
            if not self._rest:
                return b""

    def _unpack(self, count: int) -> bytes:
        try:
            content = self._gzip.decompress(self._rest, count)
        except zlib.error as error:
            msg = f"{self._path} cannot be unpacked: {error}"
            raise PackedError(msg, ReasonCode.DIGEST_MISMATCH) from error
        self._rest = self._gzip.unconsumed_tail
        return content
