"""The control process's end of the inference process."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from secateur_agent.inference.commands import Command, Configure, Reply, Stop
from secateur_agent.inference.pipe import Pipe

STOP_S = 10.0
"""How long the process may take to finish the frames under way, seconds."""


class InferenceDied:
    """The process is gone, without having been told to stop."""


class Inference(Protocol):
    """The other half of the agent, wherever it runs."""

    def send(self, command: Command) -> None:
        """Send a command; one to a half that is gone is forgotten."""

    def stop(self) -> None:
        """End it."""

    def kill(self) -> bool:
        """End it by force: it is stuck. `InferenceDied` follows.

        Returns:
            Whether it could be done.
        """


Post = Callable[[Reply | InferenceDied], None]

StartInference = Callable[[Configure, Post], Inference]


class HostProgram:
    """The program that started us, and infers itself; at the other end of a pipe."""

    def __init__(
        self, pipe: Pipe, configure: Configure, post: Post, on_end: Callable[[], None]
    ) -> None:
        """Begin to listen.

        Args:
            pipe: To the program.
            configure: What it is to do.
            post: Called on a thread of this object with every reply.
            on_end: Called at last: the program is gone.
        """
        self._pipe = pipe
        self._post = post
        self._on_end = on_end
        self._sending = threading.Lock()
        self.send(configure)
        threading.Thread(target=self._read, name="inference-replies", daemon=True).start()

    def send(self, command: Command) -> None:
        """Send a command; one to a program that is gone is forgotten."""
        with self._sending, contextlib.suppress(OSError):
            self._pipe.send(command)

    def stop(self) -> None:
        """Let the program go its own way: it is not ours to end."""
        self.send(Stop())

    def kill(self) -> bool:
        """Do nothing: likewise."""
        return False

    def _read(self) -> None:
        with self._pipe, contextlib.suppress(EOFError, OSError):
            while True:
                self._post(self._pipe.recv())
        self._on_end()


class InferenceProcess:
    """One running inference process; started at once, never restarted by itself."""

    def __init__(
        self, configure: Configure, post: Callable[[Reply | InferenceDied], None]
    ) -> None:
        """Start the process.

        Args:
            configure: What it is to do.
            post: Called on a thread of this object with every reply, and at last with
                `InferenceDied` if the end was not asked for.
        """
        ours, theirs = socket.socketpair()
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "secateur_agent.inference", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        self._pipe = Pipe(ours)
        self._post = post
        self._is_stopping = False
        self._sending = threading.Lock()
        self.send(configure)
        threading.Thread(target=self._read, name="inference-replies", daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._child.pid

    def send(self, command: Command) -> None:
        """Send a command; one to a process that is gone is forgotten, its death is posted."""
        with self._sending, contextlib.suppress(OSError):
            self._pipe.send(command)

    def stop(self) -> None:
        """End the process, by force if it does not end by itself."""
        self._is_stopping = True
        self.send(Stop())
        try:
            self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def kill(self) -> bool:
        """End the process by force."""
        self._child.kill()
        return True

    def _read(self) -> None:
        with self._pipe, contextlib.suppress(EOFError, OSError):
            while True:
                self._post(self._pipe.recv())
        if not self._is_stopping:
            self._child.kill()
            self._child.wait()
            self._post(InferenceDied())
