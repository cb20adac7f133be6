"""What every way to the repository can do: bring a large file, read a small one.

A repository is a folder of files that is reached from afar. A file is named by its path in
that folder: ``blobs/{digest}``, ``metadata/timestamp.json``. Nothing that comes from it is
to be trusted before it has been verified.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from secateur_agent.errors import PermanentError, TransientError
from secateur_protocols.ids import Digest
from secateur_protocols.ota import ReasonCode

Progress = Callable[[int, int], None]
"""Told the bytes that have come, and how many there will be."""

IsCanceled = Callable[[], bool]
"""Asked several times a second, from the thread that transfers, whether nobody needs it."""


class Way(StrEnum):
    """How files reach the device."""

    AUTO = "auto"
    HTTP = "http"
    MQTT = "mqtt"


class NotFoundError(PermanentError):
    """The repository has no such file."""

    def __init__(self, path: str, detail: str = "") -> None:
        message = f"the repository has no {path}"
        super().__init__(f"{message}: {detail}" if detail else message, ReasonCode.HTTP_STATUS)
        self.path = path


class TooLongError(PermanentError):
    """A file is longer than its reader takes."""

    def __init__(self, path: str, max_bytes: int) -> None:
        super().__init__(f"{path} is longer than {max_bytes} bytes", ReasonCode.NO_SPACE)
        self.path = path


class CanceledError(TransientError):
    """Nobody needs the file any more. What has come is kept."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not needed any more", ReasonCode.SUPERSEDED)


class Repository(Protocol):
    """One repository, for one errand: whoever opened it said when it is canceled."""

    def bring(
        self, path: str, into: Path, *, size_bytes: int, progress: Progress = ...
    ) -> None:
        """Bring a file of ``size_bytes``, going on from what ``into`` holds.

        Never more than ``size_bytes`` are written, and the memory it takes does not grow
        with them. They are not verified: hash them before use.

        Raises:
            NotFoundError: There is no such file.
            PermanentError: Trying again gives the same.
            TransientError: Everything else, a cancel included. ``into`` keeps what has come
                and the next call goes on from there.
        """

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Read a small file whole.

        Raises:
            NotFoundError: There is no such file.
            TooLongError: It has more than ``max_bytes``; no more than that was read.
            AgentError: It could not be read.
        """


def blob_path(digest: Digest) -> str:
    """Say where in a repository a blob is."""
    return f"blobs/{digest}"


def ignore(_received: int, _total: int) -> None:
    """Take no note of progress."""


def never() -> bool:
    """Say that somebody needs it still."""
    return False


class UnknownRepository:
    """Where files come from is not known yet: none can be had."""

    def bring(
        self, path: str, into: Path, *, size_bytes: int, progress: Progress = ignore
    ) -> None:
        """Raise `TransientError`; ``into`` stays as it is."""
        del into, size_bytes, progress
        raise _unknown(path)

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Raise `TransientError`."""
        del max_bytes
        raise _unknown(path)


def _unknown(path: str) -> TransientError:
    message = f"{path}: no coordinator has said yet where it is"
    return TransientError(message, ReasonCode.CONNECTION_LOST)
