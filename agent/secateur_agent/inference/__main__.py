"""The inference process: ``python -m secateur_agent.inference FD``."""

import os
import signal
import sys
import threading
import traceback

from secateur_agent.inference.pipe import Pipe
from secateur_agent.inference.process import InferenceProcess


def _die(failure: threading.ExceptHookArgs) -> None:
    """End the process when a thread fails: half a process must not look alive."""
    traceback.print_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
    os._exit(1)


def main() -> int:
    """Run until told to stop, or until the control process is gone."""
    # A terminal's Ctrl-C goes to both; the control process decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.excepthook = _die
    return InferenceProcess(Pipe.inherited(int(sys.argv[1]))).run()


if __name__ == "__main__":
    sys.exit(main())
