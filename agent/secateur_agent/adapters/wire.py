"""Bytes on the wire, as the kernel counts them: TLS, acknowledgements and headers included.

Source: Linux, include/uapi/linux/tcp.h, ``struct tcp_info``, since 4.6.
"""

import socket
import struct
import threading
from typing import Any

from secateur_agent.core.telemetry import WireBytes

_COUNTERS = struct.Struct("=QQII")
"""``tcpi_bytes_acked``, ``tcpi_bytes_received``, ``tcpi_segs_out``, ``tcpi_segs_in``."""

_OFFSET = 120
"""Of the first of them: 8 bytes of flags, 24 counters of 4 bytes, two rates of 8."""

HEADER_BYTES = {socket.AF_INET: 52, socket.AF_INET6: 72}
"""Per segment: IP, TCP, and its timestamps, which Linux sends."""


class WireMeter:
    """Adds up one connection after another. Used by the client's thread and the driver's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._past = WireBytes()
        self._open: Any = None

    def opened(self, connection: Any) -> None:  # noqa: ANN401 - a socket, or paho's like one
        """Count another connection from now on."""
        with self._lock:
            self._open = connection

    def closing(self) -> None:
        """Take the last count of the connection, which is still open."""
        with self._lock:
            self._past = self._now()
            self._open = None

    def read(self) -> WireBytes:
        """Give what has passed; where the kernel does not count, nothing has."""
        with self._lock:
            return self._now()

    def _now(self) -> WireBytes:
        current = count(self._open) if self._open is not None else None
        if current is None:
            return self._past
        return WireBytes(self._past.sent + current.sent, self._past.received + current.received)


def count(connection: socket.socket) -> WireBytes | None:
    """Give what has passed one connection. ``None``: the kernel does not say."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        sent, received, segments_out, segments_in = _COUNTERS.unpack_from(info, _OFFSET)
    except (OSError, AttributeError, struct.error):  # not TCP, closed, or an older kernel
        return None
    header = HEADER_BYTES.get(connection.family, 72)
    return WireBytes(sent + header * segments_out, received + header * segments_in)
