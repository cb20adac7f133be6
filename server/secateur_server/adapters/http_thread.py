"""An HTTP application that is answered by a thread of its own, until it is stopped."""

import socket
import threading
import time

import uvicorn

from secateur_server.errors import ServerError

START_S = 10.0


def listen(host: str, port: int, *, instead: str, backlog: int | None = None) -> socket.socket:
    """Listen; nothing is answered yet.

    Args:
        host: An address of this machine.
        port: 0 takes a free one.
        instead: What to give in place of a port that is taken, for the message.
        backlog: Connections that may wait to be accepted. ``None``: the system's default.

    Raises:
        ServerError: The address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        msg = f"cannot listen on {host}:{port} ({error.strerror}): use another {instead}"
        raise ServerError(msg) from error
    # Connections inherit it: who fetches small pieces would wait 40 ms for each.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class HttpThread:
    """One server on a socket that listens already."""

    def __init__(
        self, config: uvicorn.Config, listening: socket.socket, *, name: str, stop_s: float
    ) -> None:
        """Prepare it; nothing is answered yet.

        Args:
            config: The application, and how it is served.
            listening: From `listen`; closed by `stop`.
            name: Of the thread, and in messages.
            stop_s: Longest that requests under way may take to end, seconds.
        """
        self._server = uvicorn.Server(config)
        self._socket = listening
        self._name = name
        self._stop_s = stop_s
        self._thread = threading.Thread(
            target=self._server.run, args=([listening],), daemon=True, name=name
        )

    @property
    def is_running(self) -> bool:
        """Whether it answers still."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Answer from now on.

        Raises:
            ServerError: It did not start in time.
        """
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise ServerError(f"the {self._name} did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Finish the requests under way and end."""
        self._server.should_exit = True
        self._thread.join(self._stop_s)
        self._socket.close()
