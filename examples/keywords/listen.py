"""Turn sound into frames: the features of the last second, several times a second.

    arecord -q -f S16_LE -r 16000 -t raw | listen.py [--every-ms 250]

Reads 16-bit samples of one channel from standard input until it ends, and writes float32
[49, 10, 1] to standard output.
"""

import argparse
import sys

import numpy as np
import numpy.typing as npt
from frontend import RATE_HZ, features


def main() -> None:
    """Write a frame for every full second and each step after it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every-ms", type=int, default=250, help="from frame to frame")
    every_ms = parser.parse_args().every_ms
    step = RATE_HZ * every_ms // 1000
    if not 0 < step <= RATE_HZ:
        parser.error(f"--every-ms {every_ms}: give 1 to 1000")
    heard = read(RATE_HZ)
    while len(heard) == RATE_HZ:  # less is the end
        sys.stdout.buffer.write(features(heard).tobytes())
        sys.stdout.buffer.flush()
        heard = np.append(heard[step:], read(step))


def read(count: int) -> npt.NDArray[np.int16]:
    """Read so many samples, or fewer where the sound ends."""
    sound = sys.stdin.buffer.read(2 * count)
    return np.frombuffer(sound[: len(sound) // 2 * 2], "<i2")


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit(0)
