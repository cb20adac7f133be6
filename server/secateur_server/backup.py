"""One file that holds all a server must not lose, and back from it.

    data/...            the server's folder: registry, keys, certificates, settings of its own
    database.sqlite     the database as of one moment; or
    database.pgdump     PostgreSQL's, as pg_dump writes it
    SHA256SUMS          of all the others, last

A running coordinator is not disturbed. Files of the registry are never changed, and what names
a file is read before the file, so the backup is whole. What the embedded broker retains is said
again and is left out.
"""

import hashlib
import io
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from secateur_server.errors import InputError, ServerError

SQLITE = "secateur.sqlite"
SUMS = "SHA256SUMS"
LEFT_OUT = frozenset({".lock", "broker", SQLITE, f"{SQLITE}-wal", f"{SQLITE}-shm"})
"""In the server's folder: what another process owns, or what is copied in its own way."""

DUMP_S = 3_600.0
"""Longest that PostgreSQL's own tools may take, seconds."""

CHUNK_BYTES = 1 << 20


def back_up(data: Path, database: str | None, archive: Path) -> int:
    """Write a backup.

    Args:
        data: The server's folder.
        database: PostgreSQL's URL. ``None``: the database is SQLite in ``data``.
        archive: Where it goes; readable by its owner alone, since it holds keys.

    Returns:
        How many files it holds.

    Raises:
        InputError: There is no such folder, or the archive is there already.
        ServerError: Something cannot be read or written; no archive is left.
    """
    if not data.is_dir():
        raise InputError(f"{data} is not a folder: give the server's --data")
    if archive.exists():
        raise InputError(f"{archive} is there already: give another name")
    half = archive.with_name(f".{archive.name}.{os.getpid()}.tmp")
    try:
        half.touch(0o600)
        with tarfile.open(half, "w:gz", compresslevel=1) as tar, _dump(data, database) as dump:
            sums = {dump.name: _add(tar, dump, dump.name)} if dump is not None else {}
            for path in _files(data):
                name = f"data/{path.relative_to(data).as_posix()}"
                sums[name] = _add(tar, path, name)
            _add_sums(tar, sums)
        half.replace(archive)
    except OSError as error:
        raise ServerError(f"cannot write {archive}: {error}") from error
    finally:
        half.unlink(missing_ok=True)
    return len(sums)


def restore(archive: Path, data: Path, database: str | None) -> int:
    """Bring a backup back, into a folder that is not there yet.

    Args:
        archive: What `back_up` wrote.
        data: The server's folder; it must not be there, or be empty.
        database: PostgreSQL's URL, of an empty database. ``None``: SQLite in ``data``.

    Returns:
        How many files came back.

    Raises:
        InputError: The folder is in use, or the archive is damaged or none; ``data`` is
            as it was.
        ServerError: Something cannot be written.
    """
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise InputError(f"{data} is in use: restore into a new folder")
    data.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data.absolute().parent, prefix=".restore-") as name:
        half = Path(name)
        try:
            count = _extract(archive, half)
            _load(half, database)
            (half / "data").mkdir(exist_ok=True)
            (half / "data").replace(data)
        except (tarfile.TarError, EOFError) as error:
            raise InputError(f"{archive} is no backup, or damaged: {error}") from error
        except OSError as error:
            raise ServerError(f"cannot restore {archive}: {error}") from error
    return count


def _files(data: Path) -> Iterator[Path]:
    """Give the folder's files; blobs last, since documents name them."""
    here = [path for path in sorted(data.iterdir()) if path.name not in LEFT_OUT]
    files = [
        file
        for path in here
        for file in ([path] if path.is_file() else sorted(path.rglob("*")))
        if file.is_file() and not file.name.endswith(".tmp")
    ]
    return iter(sorted(files, key=lambda file: "blobs" in file.parts))


@contextmanager
def _dump(data: Path, database: str | None) -> Iterator[Path | None]:
    """Copy the database as of one moment."""
    with tempfile.TemporaryDirectory(prefix="secateur-backup-") as name:
        if database is not None:
            path = Path(name) / "database.pgdump"
            _run("pg_dump", "--format=custom", f"--file={path}", f"--dbname={database}")
            yield path
        elif (data / SQLITE).exists():
            path = Path(name) / "database.sqlite"
            try:
                with (
                    closing(sqlite3.connect(data / SQLITE)) as source,
                    closing(sqlite3.connect(path)) as target,
                ):
                    source.backup(target)
            except sqlite3.Error as error:
                raise ServerError(f"cannot read {data / SQLITE}: {error}") from error
            yield path
        else:
            yield None


def _load(half: Path, database: str | None) -> None:
    """Put the database where it belongs."""
    sqlite, dump = half / "database.sqlite", half / "database.pgdump"
    if database is not None:
        if not dump.exists():
            raise InputError("this backup is of SQLite: restore it without --database")
        _run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={database}", str(dump))
    elif dump.exists():
        raise InputError("this backup is of PostgreSQL: give --database")
    elif sqlite.exists():
        (half / "data").mkdir(exist_ok=True)
        sqlite.replace(half / "data" / SQLITE)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> str:
    """Add one file, and give its digest as it was added."""
    with path.open("rb") as file:
        info = tar.gettarinfo(arcname=name, fileobj=file)
        hashing = _Hashing(file)
        tar.addfile(info, hashing)
    return hashing.digest


def _add_sums(tar: tarfile.TarFile, sums: dict[str, str]) -> None:
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()
    info = tarfile.TarInfo(SUMS)
    info.size = len(text)
    tar.addfile(info, io.BytesIO(text))


def _extract(archive: Path, into: Path) -> int:
    """Take out what is listed, and nothing whose name leads elsewhere."""
    sums: dict[str, str] = {}
    wanted: dict[str, str] = {}
    try:
        tar = tarfile.open(archive, "r:gz")  # noqa: SIM115 - the with is below
    except FileNotFoundError as error:
        raise InputError(f"{archive} is not there") from error
    with tar:
        for member in tar:
            content = tar.extractfile(member)
            parts = PurePosixPath(member.name).parts
            if content is None or ".." in parts or member.name.startswith("/"):
                raise InputError(f"{archive} is no backup: it holds {member.name[:80]!r}")
            if member.name == SUMS:
                lines = content.read().decode().splitlines()
                wanted = {line[66:]: line[:64] for line in lines}
                continue
            path = into / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(member.mode & 0o700)
            sums[member.name] = _copy(content, path)
    if not sums or sums != wanted:
        raise InputError(f"{archive} is damaged: its files are not what {SUMS} says")
    return len(sums)


def _copy(content: IO[bytes], path: Path) -> str:
    hashing = _Hashing(content)
    with path.open("wb") as file:
        shutil.copyfileobj(hashing, file, CHUNK_BYTES)
    return hashing.digest


class _Hashing:
    """Reads on, and hashes what it reads."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._hash.update(content)
        return content


def _run(*command: str) -> None:
    try:
        subprocess.run(  # noqa: S603 - PostgreSQL's own tools
            command, capture_output=True, text=True, check=True, timeout=DUMP_S
        )
    except FileNotFoundError as error:
        msg = f"{command[0]} is not here: apt install postgresql-client"
        raise InputError(msg) from error
    except subprocess.CalledProcessError as error:
        raise ServerError(f"{command[0]}: {error.stderr.strip()[-300:]}") from error
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{command[0]} did not end in {DUMP_S:.0f} s") from error
