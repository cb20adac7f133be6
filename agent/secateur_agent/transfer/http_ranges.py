"""The repository by HTTP: any static file server will do, and ranges resume what was cut.

A file that has not begun to come may come packed by gzip, and is written unpacked: what is on
the disk is always the file's own beginning, and a range goes on from there, unpacked.
"""

import http.client
from collections.abc import Callable
from pathlib import Path

from secateur_agent.errors import PermanentError, TransientError
from secateur_agent.transfer.opening import (
    IDENTITY,
    StatusError,
    WatchedOpener,
    is_http,
    translated,
)
from secateur_agent.transfer.partial import PartialFile
from secateur_agent.transfer.port import NotFoundError, Progress, TooLongError, ignore
from secateur_agent.transfer.unpacking import GZIP, PackedError, Readable, Unpacked
from secateur_agent.transfer.watch import Watch
from secateur_protocols.ota import ReasonCode

CHUNK_BYTES = 65_536
"""Held in memory at a time, whatever the file's size, and all that a cut can cost."""

NOT_FOUND_STATUS = frozenset({403, 404, 410})
"""Object stores answer 403 for what is not there to whom they do not show lists."""

RETRYABLE_STATUS = frozenset({408, 425, 429})
"""4xx that another try may mend; every other 4xx is final."""

BLOBS = "blobs/"


class HttpRepository:
    """One repository on an HTTP server."""

    def __init__(self, artifacts_url: str, watch: Callable[[str], Watch]) -> None:
        """Say where it is; nothing is opened yet.

        Args:
            artifacts_url: Of the folder ``blobs``; what is beside it is reached through
                ``..``.
            watch: Begins to watch the transfer of a path.

        Raises:
            PermanentError: Not an HTTP address.
        """
        if not is_http(artifacts_url):
            msg = f"artifacts come by http or https, not from {artifacts_url[:80]!r}"
            raise PermanentError(msg, ReasonCode.HTTP_STATUS)
        self._blobs_url = artifacts_url.rstrip("/")
        self._watch = watch

    def bring(
        self, path: str, into: Path, *, size_bytes: int, progress: Progress = ignore
    ) -> None:
        """Bring a file; see `Repository`."""
        partial = PartialFile(into, size_bytes)
        held = partial.held_bytes()
        if held == size_bytes:
            return
        try:
            self._append(path, partial, held, progress)
        except PackedError:
            self._append(path, partial, partial.held_bytes(), progress, is_packed=False)

    def _append(
        self,
        path: str,
        partial: PartialFile,
        held: int,
        progress: Progress,
        *,
        is_packed: bool = True,
    ) -> None:
        encoding = GZIP if is_packed and held == 0 else IDENTITY
        try:
            with self._open(path, start=held, encoding=encoding) as response:
                start = _start_of(response, path, held)
                body: Readable = response
                if response.headers.get("Content-Encoding") == GZIP:
                    body = Unpacked(response, path, partial.size_bytes)
                _receive(body, path, partial, start, progress)
        except StatusError as error:
            if error.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                partial.discard()  # what we hold does not belong to what they have
                raise TransientError(str(error), ReasonCode.HTTP_STATUS) from error
            raise _meaning(error, path) from error

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Read a small file; see `Repository`."""
        try:
            opened = self._open(path, start=0, encoding=IDENTITY)
            with opened as response, translated(path):
                content = response.read(max_bytes + 1)
                is_cut = bool(response.length) and len(content) <= max_bytes
        except StatusError as error:
            raise _meaning(error, path) from error
        if len(content) > max_bytes:
            raise TooLongError(path, max_bytes)
        if is_cut:
            raise _cut(path, len(content))
        return content

    def _open(self, path: str, *, start: int, encoding: str) -> http.client.HTTPResponse:
        opener = WatchedOpener(self._watch(path))
        response = opener.open(self._address(path), start=start, encoding=encoding)
        comes_in = response.headers.get("Content-Encoding", IDENTITY)
        if comes_in not in {IDENTITY, encoding}:
            response.close()
            msg = f"{path} comes in the encoding {comes_in[:20]!r}, which nobody asked for"
            raise PermanentError(msg, ReasonCode.HTTP_STATUS)
        return response

    def _address(self, path: str) -> str:
        if path.startswith(BLOBS):
            return f"{self._blobs_url}/{path.removeprefix(BLOBS)}"
        return f"{self._blobs_url.rpartition('/')[0]}/{path}"


def _receive(
    body: Readable, path: str, partial: PartialFile, start: int, progress: Progress
) -> None:
    received, total = start, partial.size_bytes
    with partial.appending(start) as file:
        while received < total:
            with translated(path):
                # What is there, and no waiting for more: a wait that ends in an error would
                # lose it.
                chunk = body.read1(min(CHUNK_BYTES, total - received))
            if not chunk:
                raise _cut(path, received)
            file.write(chunk)
            received += len(chunk)
            progress(received, total)


def _start_of(response: http.client.HTTPResponse, path: str, held: int) -> int:
    """Say from which byte the server answers: where we asked, or from the beginning."""
    if held == 0 or response.status == http.client.OK:
        return 0
    answered = response.headers.get("Content-Range", "")
    if response.status == http.client.PARTIAL_CONTENT and answered.startswith(f"bytes {held}-"):
        return held
    msg = f"{path}: {response.status} {answered[:40]!r} for bytes from {held}"
    raise TransientError(msg, ReasonCode.CONNECTION_LOST)


def _cut(path: str, received: int) -> TransientError:
    return TransientError(f"{path} ended after {received} bytes", ReasonCode.CONNECTION_LOST)


def _meaning(error: StatusError, path: str) -> PermanentError | TransientError:
    if error.status in NOT_FOUND_STATUS:
        return NotFoundError(path, str(error))
    is_final = error.status < http.client.INTERNAL_SERVER_ERROR
    if is_final and error.status not in RETRYABLE_STATUS:
        return PermanentError(str(error), ReasonCode.HTTP_STATUS)
    return TransientError(str(error), ReasonCode.HTTP_STATUS, retry_after_s=error.retry_after_s)
