"""Files that a power cut leaves whole."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from secateur_server.errors import InputError, ServerError


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace ``path`` so that a power cut leaves the old bytes or the new, never a mix.

    Args:
        path: Its folder is made if it is missing.
        data: All of it.
        mode: Permissions, from the first byte on. ``None``: as the process makes files.

    Raises:
        ServerError: It cannot be written; ``path`` holds the old bytes, or the new ones
            if only the flush of the directory failed. No temporary file stays.
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
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with contextlib.suppress(OSError):  # where nothing could be written, nothing is
            sibling.unlink()
        raise ServerError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep a folder for this process alone while inside; a process that dies lets go of it.

    Raises:
        InputError: Another process holds it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"cannot use the folder {folder}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"another 'secateur serve' uses {folder}: give it another --data, or make "
                "replicas of them with --replica and a postgresql --database"
            ) from error
        yield
    finally:
        os.close(handle)
