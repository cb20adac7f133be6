"""A real HTTP server over a dictionary of files, with ranges, that can be told to misbehave."""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass
class Misdeed:
    """How the server answers wrongly, until told otherwise.

    Attributes:
        status: Answer with this status and no file.
        cut_bytes: Close the connection after so many bytes of the body.
        ignore_range: Send the whole file with 200, whatever was asked.
        wrong_start: Say another start in ``Content-Range`` than was asked for.
    """

    status: int | None = None
    cut_bytes: int | None = None
    ignore_range: bool = False
    wrong_start: bool = False


@dataclass
class HttpFiles:
    """What is served, and what was asked: path and the ``Range`` header."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    misdeed: Misdeed = field(default_factory=Misdeed)
    requests: list[tuple[str, str | None]] = field(default_factory=list)


class _Handler(http.server.BaseHTTPRequestHandler):
    state: HttpFiles

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.state.requests.append((self.path, wanted))
        misdeed = self.state.misdeed
        content = self.state.files.get(self.path.lstrip("/"))
        if misdeed.status is not None or content is None:
            self.send_error(misdeed.status or 404)
            return
        found = _RANGE.fullmatch(wanted or "")
        start = int(found.group(1)) if found and not misdeed.ignore_range else 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self._send(content, start)

    def _send(self, content: bytes, start: int) -> None:
        misdeed = self.state.misdeed
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            told = start + 1 if misdeed.wrong_start else start
            self.send_header("Content-Range", f"bytes {told}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if misdeed.cut_bytes is None else body[: misdeed.cut_bytes])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def http_files() -> Iterator[HttpFiles]:
    """Serve on a free loopback port until the block ends."""
    handler = type("Handler", (_Handler,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        handler.state = HttpFiles(f"http://127.0.0.1:{server.server_address[1]}")  # type: ignore[attr-defined] # made just above
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield handler.state  # type: ignore[attr-defined] # the same
        server.shutdown()
        thread.join()
