"""Stand in for an accelerometer: write windows of float32 to standard output, for ever.

    sensor.py [--rate-hz 6.25] [--hold 10]

The machine is in one condition for ``--hold`` windows, then in the next. At 6.25 windows a
second they come as fast as a sensor would deliver them.
"""

import argparse
import itertools
import sys
import time

import numpy as np
from physics import LABELS, record


def main() -> None:
    """Write until nobody reads any more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate-hz", type=float, default=6.25)
    parser.add_argument("--hold", type=int, default=10)
    options = parser.parse_args()
    rng = np.random.default_rng()
    due_s = time.monotonic()
    for condition in itertools.cycle(np.repeat(np.arange(len(LABELS)), options.hold)):
        sys.stdout.buffer.write(record(int(condition), rng).astype(np.float32).tobytes())
        sys.stdout.buffer.flush()
        due_s += 1 / options.rate_hz
        time.sleep(max(0.0, due_s - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit(0)
