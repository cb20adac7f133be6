"""HTTP connections whose every wait is watched, for headers and body alike.

A socket's own timeout bounds one read. A server that sends one byte in time, again and
again, stays below it for ever; and a cancel would wait for it.
"""

import http.client
import io
import select
import socket
import ssl
from typing import Any

from secateur_agent.transfer.watch import POLL_S, Watch

CONNECT_S = 10.0
"""Longest wait for a connection, seconds, and for the request to be taken."""


class PatientReader(io.RawIOBase):
    """Reads a connection, asking the watch while there is nothing to read."""

    def __init__(self, inner: io.RawIOBase, connection: socket.socket, watch: Watch) -> None:
        self._inner = inner
        self._connection = connection
        self._watch = watch
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - any writable buffer
        """Read what is there, waiting for it under the watch."""
        while not self._is_ready():
            self._watch.check()
        count = self._inner.readinto(buffer)
        if count:
            self._watch.received(count)
        return count

    def close(self) -> None:
        """Let go of the connection."""
        self._inner.close()
        super().close()

    def _is_ready(self) -> bool:
        if isinstance(self._connection, ssl.SSLSocket) and self._connection.pending():
            return True
        return bool(self._poll.poll(POLL_S * 1000))


class _PatientResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, watch: Watch, **options: Any) -> None:  # noqa: ANN401 - the base class's own
        super().__init__(sock, *args, **options)
        inner: Any = self.fp.detach()
        self.fp = io.BufferedReader(PatientReader(inner, sock, watch))


class PatientConnection(http.client.HTTPConnection):
    """A connection whose responses are read under a watch."""

    def __init__(self, host: str, *, watch: Watch, **options: Any) -> None:  # noqa: ANN401 - the base class's own
        super().__init__(host, **options)
        self.response_class = _responses(watch)


class PatientTlsConnection(http.client.HTTPSConnection):
    """The same over TLS."""

    def __init__(self, host: str, *, watch: Watch, **options: Any) -> None:  # noqa: ANN401 - the base class's own
        super().__init__(host, **options)
        self.response_class = _responses(watch)


def _responses(watch: Watch) -> Any:  # noqa: ANN401 - takes a class, is given a function
    def make(sock: socket.socket, *args: Any, **options: Any) -> _PatientResponse:  # noqa: ANN401 - as above
        return _PatientResponse(sock, *args, watch=watch, **options)

    return make
