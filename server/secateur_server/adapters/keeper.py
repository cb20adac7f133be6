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
    # A terminal's Ctrl-C reaches the whole group; the parent decides when we end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(  # noqa: S603 - the program our parent names
        sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True
    )
    threading.Thread(target=_end_with_stdin, args=(child,), daemon=True).start()
    return child.wait()


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
