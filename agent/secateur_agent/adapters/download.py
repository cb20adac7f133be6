"""Bytes by HTTP, resumed where they were cut, never more than announced."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from secateur_agent.adapters.files import storage_error
from secateur_agent.errors import AgentError, PermanentError, TransientError
from secateur_protocols.ota import ReasonCode

TIMEOUT_S = 20.0
"""Longest silence of the server, seconds; a cellular link stalls for ten."""

CHUNK_BYTES = 65_536
"""Held in memory at a time, whatever the artifact's size."""

RETRYABLE_STATUS = frozenset({408, 425, 429})
"""4xx that another try may mend; every other 4xx is final."""

Progress = Callable[[int, int], None]
"""Told the bytes that have come, and how many there will be."""


def download(url: str, path: Path, *, size_bytes: int, progress: Progress) -> None:
    """Bring ``size_bytes`` from ``url`` into ``path``, going on from what is there.

    The bytes are not verified here: hash them before use.

    Raises:
        PermanentError: HTTP 4xx, no space, or not an HTTP address.
        TransientError: Everything else. ``path`` keeps what has come and the next call
            goes on from there.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        msg = f"artifacts come by http or https, not from {url[:80]!r}"
        raise PermanentError(msg, ReasonCode.HTTP_STATUS)
    held = _held_bytes(path)
    if held > size_bytes:
        path.unlink()
        held = 0
    if held == size_bytes:
        return
    try:
        _receive(_request(url, held), path, size_bytes, progress)
    except urllib.error.HTTPError as error:
        error.close()  # it is the response: its connection would stay open as long as it
        raise _status_error(error, path) from error
    except (http.client.HTTPException, TimeoutError, urllib.error.URLError) as error:
        raise TransientError(f"{url}: {error}", ReasonCode.CONNECTION_LOST) from error
    except ConnectionError as error:
        raise TransientError(f"{url}: {error}", ReasonCode.CONNECTION_LOST) from error
    except OSError as error:
        raise storage_error(error, path) from error


def _held_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _request(url: str, start: int) -> urllib.request.Request:
    # The scheme was checked above. "identity": ranges count the bytes that we hash.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    return urllib.request.Request(url, headers=headers)  # noqa: S310 - see above


def _receive(
    request: urllib.request.Request, path: Path, size_bytes: int, progress: Progress
) -> None:
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - as above
        start = _start_of(response, request)
        with path.open("ab" if start else "wb") as file:
            received = start
            while received < size_bytes:
                chunk = response.read(min(CHUNK_BYTES, size_bytes - received))
                if not chunk:
                    msg = f"{request.full_url} ended after {received} of {size_bytes} bytes"
                    raise TransientError(msg, ReasonCode.CONNECTION_LOST)
                file.write(chunk)
                received += len(chunk)
                progress(received, size_bytes)


def _start_of(response: http.client.HTTPResponse, request: urllib.request.Request) -> int:
    """Say from which byte the server answers: where we asked, or from the beginning."""
    wanted = request.get_header("Range")
    if wanted is None or response.status == http.client.OK:
        return 0
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    answered = response.headers.get("Content-Range", "")
    if response.status == http.client.PARTIAL_CONTENT and answered.startswith(
        f"bytes {start}-"
    ):
        return start
    msg = f"{request.full_url} answers {response.status} {answered!r} for bytes from {start}"
    raise TransientError(msg, ReasonCode.CONNECTION_LOST)


def _status_error(error: urllib.error.HTTPError, path: Path) -> AgentError:
    message = f"{error.url}: HTTP {error.code}"
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        path.unlink(missing_ok=True)  # what we hold does not belong to what they have
        return TransientError(message, ReasonCode.HTTP_STATUS)
    final = http.client.BAD_REQUEST <= error.code < http.client.INTERNAL_SERVER_ERROR
    if final and error.code not in RETRYABLE_STATUS:
        return PermanentError(message, ReasonCode.HTTP_STATUS)
    return TransientError(message, ReasonCode.HTTP_STATUS)
