"""Runs one program for as long as stdin stays open: ``python -m ...keeper PROGRAM [ARG ...]``.

Whoever holds the other end may be killed: the pipe closes all the same, and the program
ends with it.
"""

import os
import signal
import subprocess
import sys
import threading

STOP_S = 5.0
"""How long the program may take to end after SIGTERM, seconds."""


def main() -> int:
    """Run the program until it ends or stdin does."""
    # A terminal's Ctrl-C, and the end that `timeout` brings, reach the whole group; the
    # parent decides when we end, by letting go of stdin.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    child = subprocess.Popen(  # noqa: S603 - the program our parent names
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_hear_again,  # noqa: PLW1509 - there are no threads yet
    )
    threading.Thread(target=_end_with_stdin, args=(child,), daemon=True).start()
    return child.wait()


def _hear_again() -> None:
    """Let the program have the signals that we do not take."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)


def _end_with_stdin(child: "subprocess.Popen[bytes]") -> None:
    # Not sys.stdin: its lock would be held when the interpreter ends first.
    while os.read(0, 4096):
        pass
    child.terminate()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    sys.exit(main())
