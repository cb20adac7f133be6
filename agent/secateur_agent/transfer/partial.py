"""A file on its way in. Its length is all that is remembered of how far it has come."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from secateur_agent.adapters.files import storage_error


class PartialFile:
    """What a transfer writes, chunk by chunk, and goes on from after a restart."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes

    def held_bytes(self) -> int:
        """Say how much is there; a file that is too long is thrown away.

        Raises:
            AgentError: The disk failed.
        """
        try:
            held = self.path.stat().st_size
            if held > self.size_bytes:
                self.path.unlink()
                return 0
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise storage_error(error, self.path) from error
        return held

    def discard(self) -> None:
        """Throw it away.

        Raises:
            AgentError: The disk failed.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.path) from error

    @contextmanager
    def appending(self, start: int) -> Iterator["Appender"]:
        """Open it to write from byte ``start``: its end, or 0 to begin again.

        Raises:
            AgentError: The disk failed.
        """
        try:
            # Unbuffered: what was written outlives the process that wrote it.
            file = self.path.open("ab" if start else "wb", buffering=0)
        except OSError as error:
            raise storage_error(error, self.path) from error
        with file:
            yield Appender(file, self.path)


class Appender:
    """An open partial file."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path

    def write(self, chunk: bytes | memoryview) -> None:
        """Add a chunk.

        Raises:
            AgentError: The disk failed or is full.
        """
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise storage_error(error, self._path) from error
