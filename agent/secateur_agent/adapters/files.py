"""Files that a power cut leaves whole."""

import contextlib
import errno
import os
from pathlib import Path

from secateur_agent.errors import PermanentError, TransientError
from secateur_protocols.ota import ReasonCode

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace ``path`` so that a power cut leaves the old bytes or the new, never a mix.

    Four steps, in this order: write a temporary sibling, flush it to the medium, rename
    it over ``path``, flush the directory. Leaving out the last makes the rename itself
    forgettable.

    Args:
        path: Its folder is made if it is missing.
        data: All of it.
        mode: Permissions, from the first byte on. ``None``: as the process makes files.

    Raises:
        PermanentError: The disk is full.
        TransientError: Another step failed. In both cases ``path`` holds the old bytes,
            or the new ones if only the last step failed; no temporary file stays.
    """
    sibling = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sibling.touch(0o666 if mode is None else mode)
        with sibling.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sibling.replace(path)
        flush_directory(path.parent)
    except OSError as error:
        # A disk that took no bytes may not take the removal either: the first error counts.
        with contextlib.suppress(OSError):
            sibling.unlink(missing_ok=True)
        raise storage_error(error, path) from error


def flush_directory(directory: Path) -> None:
    """Make renames in a directory outlive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: OSError, path: Path) -> PermanentError | TransientError:
    """Translate what the file system said."""
    if error.errno in _NO_SPACE:
        return PermanentError(f"no space to write {path.name}", ReasonCode.NO_SPACE)
    return TransientError(f"cannot write {path.name}: {error.strerror}", ReasonCode.LOAD_FAILED)
