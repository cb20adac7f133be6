"""Frames from a command's standard output, as ``rpicam-vid`` and ``arecord`` write them."""

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Callable

import numpy as np

from secateur_agent.inference.commands import ExecSpec
from secateur_agent.source import Offer, SourceError

STOP_S = 3.0
"""How long a command may take to end after SIGTERM, seconds."""

PR_SET_PDEATHSIG = 1
"""Of ``prctl``: the signal that a process gets when the thread that started it ends."""


class CommandSource:
    """Runs a command and cuts what it writes into frames of one size.

    The command leads a process group of its own and ends with us, also when we are killed:
    its first process is told by the kernel, and the others lose their reader.
    """

    sample = None

    def __init__(self, spec: ExecSpec) -> None:
        self._command = spec.command
        self._dtype = np.dtype(spec.dtype)
        self._shape = spec.shape

    def run(self, offer: Offer, stopping: threading.Event) -> None:
        """Offer frames until stopped.

        Raises:
            SourceError: The command cannot be started, or ended.
        """
        try:
            child = subprocess.Popen(  # noqa: S603 - the command of the device's own configuration
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - one system call, no lock taken
            )
        except OSError as error:
            raise SourceError(f"cannot start {self._command[0]}: {error.strerror}") from error
        ended = threading.Event()
        watch = threading.Thread(target=_end_when, args=(stopping, ended, child), daemon=True)
        watch.start()
        try:
            self._read(child, offer)
        finally:
            ended.set()
            _end(child)
            watch.join()
        raise SourceError(f"{self._command[0]} ended with code {child.returncode}")

    def _read(self, child: "subprocess.Popen[bytes]", offer: Offer) -> None:
        if child.stdout is None:  # never: it is a pipe
            return
        size = self._dtype.itemsize * int(np.prod(self._shape))
        with child.stdout as stream:
            while len(content := stream.read(size)) == size:
                offer(np.frombuffer(content, self._dtype).reshape(self._shape))


def _end_when(
    stopping: threading.Event, ended: threading.Event, child: "subprocess.Popen[bytes]"
) -> None:
    """End the command when asked to: its reader may be waiting for a frame that never comes."""
    while not ended.wait(0.1):
        if stopping.is_set():
            _end(child)
            return


def _end(child: "subprocess.Popen[bytes]") -> None:
    _signal_group(child, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_S)
    # Whoever of its group is left does not outlive the agent either.
    _signal_group(child, signal.SIGKILL)
    child.wait()


def _signal_group(child: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _die_with_parent() -> Callable[[], None]:
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork, where no lock may be taken
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
