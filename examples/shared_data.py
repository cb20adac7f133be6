"""Where models and data lie that are not ours to pass on: see `examples/README.md`."""

import os
import sys
from pathlib import Path

FOLDER = Path(
    os.environ.get("SECATEUR_DATA", Path(__file__).resolve().parents[2] / "shared/data")
)
NOT_HERE = 3


def find(*names: str) -> list[Path]:
    """Find files; where one is missing, say so and end with `NOT_HERE`."""
    paths = [FOLDER / name for name in names]
    if missing := [path for path in paths if not path.exists()]:
        sys.stderr.write(
            f"{missing[0]} is not here: examples/README.md says where it is from\n"
        )
        sys.exit(NOT_HERE)
    return paths
