"""Files that a power cut leaves whole."""

import contextlib
import os
from pathlib import Path

from secateur_server.errors import ServerError


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` so that a power cut leaves the old bytes or the new, never a mix.

    Raises:
        ServerError: It cannot be written; ``path`` holds the old bytes, or the new ones
            if only the flush of the directory failed. No temporary file stays.
    """
    sibling = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with sibling.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sibling.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with contextlib.suppress(OSError):  # where nothing could be written, nothing is
            sibling.unlink()
        raise ServerError(f"cannot write {path}: {error.strerror}") from error
