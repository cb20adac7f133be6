"""Stand in for a microphone and `listen.py`: write frames to standard output, for ever.

    microphone.py FRAMES.npy [--rate-hz 20]

FRAMES.npy holds float32 [n, 49, 10, 1]: of one second of sound each, 49 steps of 10 mel
frequency cepstral coefficients. At one frame a second they come as speech does.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Write until nobody reads any more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--rate-hz", type=float, default=20.0)
    options = parser.parse_args()
    frames = np.load(options.frames).astype(np.float32)
    due_s = time.monotonic()
    for frame in itertools.cycle(frames):
        sys.stdout.buffer.write(frame.tobytes())
        sys.stdout.buffer.flush()
        due_s += 1 / options.rate_hz
        time.sleep(max(0.0, due_s - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit(0)
