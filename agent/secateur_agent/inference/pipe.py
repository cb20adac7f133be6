"""The pipe between control and inference process: frozen values, pickled, one by one.

Both ends are our own code, of the same version, started by one another. The standard library
has the like in `multiprocessing.connection`, with 80 modules that the inference process would
have to hold in memory.
"""

import contextlib
import pickle
import select
import socket
import struct
from typing import Any, Self

_HEAD = struct.Struct("!I")
"""How many bytes follow."""

SEND_S = 10.0
"""How long a send may wait for the other end to take something, seconds."""


class Pipe:
    """One end. One thread receives; those that send take turns."""

    def __init__(self, end: socket.socket) -> None:
        """Take an end over.

        Args:
            end: Of a pair of stream sockets; closed with this.
        """
        seconds = struct.pack("@ll", int(SEND_S), 0)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        self._end = end

    @classmethod
    def inherited(cls, descriptor: int) -> Self:
        """Take over what the process was started with."""
        return cls(socket.socket(fileno=descriptor))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()

    def send(self, value: object) -> None:
        """Send one value.

        Raises:
            OSError: The other end is gone, or has taken nothing for `SEND_S`. Then this pipe
                has ended, for both ends: part of the value may have been sent.
        """
        content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        try:
            self._end.sendall(_HEAD.pack(len(content)) + content)
        except OSError:
            with contextlib.suppress(OSError):
                self._end.shutdown(socket.SHUT_RDWR)
            raise

    def poll(self, timeout_s: float) -> bool:
        """Wait until something, or the end, can be received; say whether it can."""
        poller = select.poll()
        poller.register(self._end, select.POLLIN)
        return bool(poller.poll(timeout_s * 1e3))

    def recv(self) -> Any:  # noqa: ANN401 - what was sent
        """Wait for one value.

        Raises:
            EOFError: The other end is gone.
            OSError: Likewise, before it had taken all that was sent to it.
        """
        (size,) = _HEAD.unpack(self._read(_HEAD.size))
        return pickle.loads(self._read(size))  # noqa: S301 - our own process sent it

    def _read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            chunk = self._end.recv(min(size - len(content), 1 << 20))
            if not chunk:
                raise EOFError
            content += chunk
        return bytes(content)
