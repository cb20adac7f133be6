"""A connection that is read in large pieces.

The MQTT client reads each packet in three calls: a byte, the length, the rest. A coordinator
that hears thousands of packets a second would spend more on those system calls than on its
decisions.
"""

import socket
import ssl

READ_BYTES = 65_536
"""Taken from the system at once, as far as it has so much."""


class ReadAhead:
    """A socket, plain or TLS, whose next bytes are read before they are asked for."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._ahead = b""
        self._at = 0

    def recv(self, most: int) -> bytes:
        """Give up to so many bytes; ``b""``: the other side has closed.

        Raises:
            BlockingIOError: There are none yet; over TLS it is `ssl.SSLWantReadError`.
        """
        begin = self._at
        if begin >= len(self._ahead):
            self._ahead = self._connection.recv(max(most, READ_BYTES))
            begin = 0
        self._at = begin + most
        return self._ahead[begin : self._at]

    def pending(self) -> int:
        """Say how many bytes are here that the system does not know of any more."""
        ahead = max(0, len(self._ahead) - self._at)
        if ahead == 0 and isinstance(self._connection, ssl.SSLSocket):
            return self._connection.pending()
        return ahead

    def send(self, data: bytes) -> int:
        """Send; see `socket.socket.send`."""
        return self._connection.send(data)

    def fileno(self) -> int:
        """Name the connection for ``select``; -1: it is closed."""
        return self._connection.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as of a socket
        """Let calls wait or not."""
        self._connection.setblocking(flag)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Set an option of the connection."""
        self._connection.setsockopt(level, option, value)

    def close(self) -> None:
        """Close it."""
        self._connection.close()
