"""Stand in for a camera: write pictures as raw RGB to standard output, for ever.

    camera.py FOLDER [--rate-hz 20]

FOLDER holds portable pixmaps (``.ppm``, binary), as `ffmpeg` and `convert` write them, all of
one size. On a Raspberry Pi, `rpicam-vid` and `ffmpeg` stand here: see `README.md`.
"""

import argparse
import itertools
import re
import sys
import time
from pathlib import Path

HEAD = re.compile(rb"P6\s+\d+\s+\d+\s+255\s")


def pixels(path: Path) -> bytes:
    """Read a picture's pixels, red, green and blue in turns."""
    content = path.read_bytes()
    head = HEAD.match(content)
    if head is None:
        sys.exit(f"{path} is not a binary portable pixmap of 8 bits")
    return content[head.end() :]


def main() -> None:
    """Write until nobody reads any more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate-hz", type=float, default=20.0)
    options = parser.parse_args()
    pictures = [pixels(path) for path in sorted(options.folder.glob("*.ppm"))]
    if not pictures:
        sys.exit(f"{options.folder} holds no .ppm file")
    due_s = time.monotonic()
    for picture in itertools.cycle(pictures):
        sys.stdout.buffer.write(picture)
        sys.stdout.buffer.flush()
        due_s += 1 / options.rate_hz
        time.sleep(max(0.0, due_s - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit(0)
