"""Reading the registry as devices see it: a folder of files named by path."""

import os
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from secateur_protocols.blocks import RepositoryPath

_PATH: TypeAdapter[str] = TypeAdapter(RepositoryPath)


class Part(NamedTuple):
    """Some bytes of a file, and the size of all of it."""

    content: bytes
    total_bytes: int


class RepositoryFiles:
    """The files that devices may have, and no others."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, path: str) -> Path | None:
        """Say where a file is. ``None``: there is none that devices may have."""
        try:
            found = self._root / _PATH.validate_python(path)
        except ValidationError:
            return None
        return found if found.is_file() else None

    def read(self, path: str, offset: int, size_bytes: int) -> Part | None:
        """Read at most so many bytes from an offset. ``None``: there is no such file."""
        found = self.find(path)
        if found is None:
            return None
        try:
            descriptor = os.open(found, os.O_RDONLY)
        except OSError:
            return None
        try:
            total = os.fstat(descriptor).st_size
            return Part(os.pread(descriptor, size_bytes, offset), total)
        except OSError:
            return None
        finally:
            os.close(descriptor)
