"""Small text files of the kernel."""

from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 1 << 20
"""More than any file read here has; /proc/cpuinfo of 256 processors is 400 KB."""


class KernelFiles:
    """The tree below one root; on a device ``/``."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def text(self, path: str) -> str | None:
        """Read a file, its last line end cut off; ``None``: not there, or not to be read."""
        try:
            with (self._root / path.lstrip("/")).open("rb") as file:
                return file.read(MAX_BYTES).decode("utf-8", "replace").strip("\n\0 ")
        except (OSError, ValueError):  # ValueError: a path with a NUL in it
            return None

    def number(self, path: str, base: int = 10) -> int | None:
        """Read a file that holds one whole number; ``None``: it does not."""
        return whole(self.text(path), base)

    def folders(self, pattern: str) -> Iterator[str]:
        """List what matches, sorted, as paths for the methods above."""
        try:
            found = sorted(self._root.glob(pattern.lstrip("/")))
        except OSError:
            return
        for path in found:
            yield "/" + str(path.relative_to(self._root))


MAX_NUMBER = 1 << 53
"""Larger ones do not travel (rule W12), and no resource of a device is as large."""

MAX_DIGITS = 32


def whole(text: str | None, base: int = 10) -> int | None:
    """Take a whole number from text; ``None``: it is none, or beyond `MAX_NUMBER`."""
    if text is None or len(text) > MAX_DIGITS:
        return None
    try:
        number = int(text, base)
    except ValueError:
        return None
    return number if abs(number) <= MAX_NUMBER else None
