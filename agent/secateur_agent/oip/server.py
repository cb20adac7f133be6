"""HTTP/1.1 on loopback or a Unix socket: one thread per connection, a bounded number.

A thread spends its time waiting for its socket or for a lane; only to parse and write does it
hold the interpreter lock, for some ten microseconds.
"""

import contextlib
import logging
import os
import socket
import stat
import threading
from http import HTTPStatus
from pathlib import Path

from secateur_agent.errors import ConfigError
from secateur_agent.inference.commands import HttpSpec
from secateur_agent.oip.errors import RequestError
from secateur_agent.oip.head import MAX_HEAD_BYTES, Head, parse_head
from secateur_agent.oip.router import Response, Router, failure

log = logging.getLogger("secateur.agent")

UNIX = "unix:"

READ_S = 30.0
"""How long the rest of a request that has begun may take to arrive, seconds per read."""

IDLE_S = 300.0
"""How long a connection may stay without a request, seconds."""

CHUNK_BYTES = 65_536


class HttpServer:
    """Listens from the start; answers from `start` to `stop`."""

    def __init__(self, spec: HttpSpec, router: Router) -> None:
        """Bind.

        Raises:
            ConfigError: The address cannot be had.
        """
        self._spec = spec
        self._router = router
        self._listener = _listen(spec.listen)
        self._slots = threading.BoundedSemaphore(spec.max_connections)

    def start(self) -> None:
        """Begin to answer, on threads of its own."""
        threading.Thread(target=self._accept, name="http", daemon=True).start()

    def stop(self) -> None:
        """Take no more connections. Those that are open end with the process."""
        # Only a shutdown wakes a thread that waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._spec.listen.startswith(UNIX):
            Path(self._spec.listen.removeprefix(UNIX)).unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed by stop, or out of descriptors: the caller tries again
                if self._listener.fileno() < 0:
                    return
                threading.Event().wait(0.1)
                continue
            if not self._slots.acquire(blocking=False):
                _turn_away(connection)
                continue
            threading.Thread(
                target=self._converse, args=(connection,), name="http-caller", daemon=True
            ).start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                if connection.family != socket.AF_UNIX:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                exchange = _Exchange(connection, self._spec.max_request_bytes)
                while exchange.serve(self._router):
                    pass
        finally:
            self._slots.release()


class _Exchange:
    """One connection: requests in, responses out, one after the other."""

    def __init__(self, connection: socket.socket, max_request_bytes: int) -> None:
        self._connection = connection
        self._max_request_bytes = max_request_bytes
        self._ahead = bytearray()

    def serve(self, router: Router) -> bool:
        """Answer the next request.

        Returns:
            Whether there may be another one.

        Raises:
            OSError: The peer is gone, or too slow.
        """
        try:
            head = self._read_head()
            if head is None:
                return False
            body = self._read_body(head)
        except RequestError as error:  # where the request ends is not known: no other follows
            self._send(failure(error), keeps_alive=False)
            return False
        try:
            response = router.route(head, body)
        except RequestError as error:
            response = failure(error)
        self._send(response, keeps_alive=head.keeps_alive)
        return head.keeps_alive

    def _read_head(self) -> Head | None:
        self._connection.settimeout(IDLE_S)
        while (end := self._ahead.find(b"\r\n\r\n")) < 0:
            if len(self._ahead) > MAX_HEAD_BYTES:
                status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                raise RequestError(status, f"a head has at most {MAX_HEAD_BYTES} bytes")
            chunk = self._connection.recv(CHUNK_BYTES)
            if not chunk:
                return None
            self._ahead += chunk
            self._connection.settimeout(READ_S)
        head = parse_head(bytes(self._ahead[:end]), self._max_request_bytes)
        del self._ahead[: end + 4]
        return head

    def _read_body(self, head: Head) -> bytearray:
        if head.awaits_continue and len(self._ahead) < head.body_bytes:
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._ahead[: head.body_bytes]
        del self._ahead[: head.body_bytes]
        have = len(body)
        if have < head.body_bytes:
            body.extend(bytes(head.body_bytes - have))
            with memoryview(body) as view:
                while have < head.body_bytes:
                    count = self._connection.recv_into(view[have:])
                    if not count:
                        raise ConnectionResetError
                    have += count
        return body

    def _send(self, response: Response, *, keeps_alive: bool) -> None:
        lines = [
            f"HTTP/1.1 {response.status.value} {response.status.phrase}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
        ]
        if response.json_bytes is not None:
            lines.append(f"Inference-Header-Content-Length: {response.json_bytes}")
        if not keeps_alive:
            lines.append("Connection: close")
        head = "\r\n".join([*lines, "\r\n"]).encode()
        self._connection.sendall(head + response.body)


def _turn_away(connection: socket.socket) -> None:
    error = RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
    with connection, contextlib.suppress(OSError):
        connection.settimeout(1.0)
        _Exchange(connection, 0)._send(failure(error), keeps_alive=False)  # noqa: SLF001 - ours


def _listen(address: str) -> socket.socket:
    try:
        if address.startswith(UNIX):
            return _listen_on_path(Path(address.removeprefix(UNIX)))
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=64)
    except OSError as error:
        raise ConfigError(
            f"http.listen: cannot listen on {address}: {error.strerror}"
        ) from error


def _listen_on_path(path: Path) -> socket.socket:
    # What a killed agent left is in the way; anything but a socket is somebody else's.
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o660)
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener
