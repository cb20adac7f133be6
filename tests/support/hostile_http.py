"""A real HTTP server that answers with whatever bytes a test makes up, at any pace."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Reply = Callable[[socket.socket, str], None]
"""Given the connection and the head of the request; the connection is closed after it."""


@dataclass
class HostileServer:
    """What was asked, and how to answer: each reply once, the last one for ever."""

    url: str
    replies: list[Reply] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def ranges(self) -> list[str | None]:
        """Give the ``Range`` header of each request."""
        return [_header(head, "range") for head in self.asked]

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def answer(
    status: str,
    body: bytes = b"",
    *,
    length: int | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """Answer properly, but for a length that may be a lie."""

    def reply(connection: socket.socket, _head: str) -> None:
        told = {
            "Content-Length": str(len(body) if length is None else length),
            **(headers or {}),
        }
        lines = "".join(f"{name}: {text}\r\n" for name, text in told.items())
        connection.sendall(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)

    return reply


@contextmanager
def hostile_server() -> Iterator[HostileServer]:
    """Serve on a free loopback port until the block ends; replies that wait end then."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = HostileServer(f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread = threading.Thread(target=_accept, args=(listening, server), daemon=True)
        thread.start()
        yield server
        server.is_over.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        thread.join(30.0)


def _accept(listening: socket.socket, server: HostileServer) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, server), daemon=True).start()


def _serve(connection: socket.socket, server: HostileServer) -> None:
    with connection, suppress(OSError):
        head = ""
        while "\r\n\r\n" not in head:
            chunk = connection.recv(4096)
            if not chunk:
                return
            head += chunk.decode("latin-1")
        server.asked.append(head)
        server.next_reply()(connection, head)


def _header(head: str, name: str) -> str | None:
    for line in head.split("\r\n"):
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return None
