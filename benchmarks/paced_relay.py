"""A relay that stands for a network: passes all on, at a pace, and counts what passes."""

import socket
import threading
import time
from contextlib import suppress
from typing import Self

PIECE_BYTES = 16_384

BUFFER_BYTES = 32_768
"""Of the relay's sockets: little waits in them, as on a real link."""


class PacedRelay:
    """Everything towards the device passes at most at the pace; a context manager."""

    def __init__(self, target_port: int, bytes_per_s: float) -> None:
        """Listen on a free loopback port.

        Args:
            target_port: On 127.0.0.1, to which connections are passed on.
            bytes_per_s: Of all connections together, towards who connected.
        """
        self._target_port = target_port
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._due_s = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.passed_bytes = 0
        """Payload of TCP that was handed on towards who connected."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket()
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
                far.connect(("127.0.0.1", self._target_port))
                near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
                for one in (near, far):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for source, sink, is_paced in ((far, near, True), (near, far, False)):
                    threading.Thread(
                        target=self._pass_on, args=(source, sink, is_paced), daemon=True
                    ).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_paced: bool) -> None:  # noqa: FBT001 - a thread's argument
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                if is_paced:
                    self._wait_for_turn(len(piece))
                sink.sendall(piece)
                if is_paced:
                    self.passed_bytes += len(piece)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _wait_for_turn(self, count: int) -> None:
        with self._lock:
            now_s = time.monotonic()
            self._due_s = max(self._due_s, now_s) + count / self._bytes_per_s
            wait_s = self._due_s - now_s
        time.sleep(max(0.0, wait_s))
