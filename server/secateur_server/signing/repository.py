"""The folder of signed metadata: plain files that any static server or CDN may serve.

    {folder}/{n}.root.json        every version: a device walks from its own to the newest
    {folder}/{n}.targets.json     the ladders that may be installed
    {folder}/{n}.snapshot.json    which of these lists is current
    {folder}/timestamp.json       that this is so now

A device reads them from the last to the first, so they are written from the first to the
last: what is named is there. The layout is that of The Update Framework with consistent
snapshots.
"""

import contextlib
import copy
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from secateur_protocols.trust import MAX_METADATA_BYTES, SIGNED_AT_FIELD
from secateur_server.adapters.files import write_atomically
from secateur_server.errors import InputError, ServerError
from secateur_server.signing.roles import Role, lifetimes_of

KEPT = 8
"""Versions of targets and snapshot that stay: for devices in the middle of reading."""

T = TypeVar("T", Root, Targets, Snapshot, Timestamp)

Signers = Mapping[Role, Sequence[Signer]]


class Repository:
    """Reads and writes one folder of metadata."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_signed(self) -> bool:
        """Whether there is anything: without a root there is no signed registry."""
        return bool(self._versions(Role.ROOT))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process write while inside.

        Raises:
            InputError: The folder is not there.
            ServerError: It cannot be written.
        """
        try:
            handle = os.open(
                self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except FileNotFoundError as error:
            raise _no_root(self.folder) from error
        except OSError as error:
            raise ServerError(f"cannot write {self.folder}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def root(self) -> Metadata[Root]:
        """Read the newest root.

        Raises:
            InputError: There is none, or it is damaged.
        """
        versions = self._versions(Role.ROOT)
        if not versions:
            raise _no_root(self.folder)
        return self._read(Root, self._path(Role.ROOT, versions[-1]))

    def targets(self) -> Metadata[Targets]:
        """Read the newest targets metadata that the root's keys have signed.

        Raises:
            InputError: There is none.
        """
        root = self.root().signed
        for version in reversed(self._versions(Role.TARGETS)):
            with contextlib.suppress(InputError):
                found = self._read(Targets, self._path(Role.TARGETS, version))
                if is_valid(found, Role.TARGETS, root):
                    return found
        raise InputError(f"{self.folder} holds no targets metadata that the root's keys signed")

    def snapshot(self) -> Metadata[Snapshot] | None:
        """Read the newest snapshot, whoever signed it; ``None``: there is none."""
        versions = self._versions(Role.SNAPSHOT)
        if not versions:
            return None
        return self._read(Snapshot, self._path(Role.SNAPSHOT, versions[-1]))

    def timestamp(self) -> Metadata[Timestamp] | None:
        """Read the timestamp, whoever signed it; ``None``: there is none."""
        path = self._path(Role.TIMESTAMP, 0)
        return self._read(Timestamp, path) if path.exists() else None

    def write(self, role: Role, document: bytes, version: int) -> None:
        """Write one signed document; old versions that nobody needs any more go.

        Raises:
            ServerError: It could not be written; what was there is as it was.
        """
        write_atomically(self._path(role, version), document)
        if role in {Role.TARGETS, Role.SNAPSHOT}:
            for old in self._versions(role)[:-KEPT]:
                with contextlib.suppress(OSError):
                    self._path(role, old).unlink()

    def refresh(self, signers: Signers, now: datetime) -> tuple[Role, ...]:
        """Sign snapshot and timestamp anew where that is due.

        It is due when what they name has changed, when the root no longer knows who signed
        them, and when half of their time is over.

        Returns:
            The roles that were signed.

        Raises:
            InputError: The keys are not those that the root names.
            ServerError: Something could not be written.
        """
        root = self.root().signed
        signed = []
        snapshot, targets = self.snapshot(), self.targets()
        if snapshot is None or _is_stale(snapshot, Role.SNAPSHOT, root, now, targets.signed):
            names = {"targets.json": _describe(self._bytes(Role.TARGETS, targets))}
            snapshot = Metadata(Snapshot()) if snapshot is None else following(snapshot)
            snapshot.signed.meta = names
            self._sign(snapshot, Role.SNAPSHOT, root, signers, now)
            signed.append(Role.SNAPSHOT)
        timestamp = self.timestamp()
        if timestamp is None or _is_stale(
            timestamp, Role.TIMESTAMP, root, now, snapshot.signed
        ):
            named = _describe(self._bytes(Role.SNAPSHOT, snapshot))
            timestamp = Metadata(Timestamp()) if timestamp is None else following(timestamp)
            timestamp.signed.snapshot_meta = named
            self._sign(timestamp, Role.TIMESTAMP, root, signers, now)
            signed.append(Role.TIMESTAMP)
        return tuple(signed)

    def _sign(
        self, metadata: Metadata[T], role: Role, root: Root, signers: Signers, now: datetime
    ) -> None:
        document = sign(metadata, role, root, signers.get(role, ()), now)
        self.write(role, document, metadata.signed.version)

    def _bytes(self, role: Role, metadata: Metadata[T]) -> tuple[int, bytes]:
        version = metadata.signed.version
        return version, self._path(role, version).read_bytes()

    def _versions(self, role: Role) -> list[int]:
        numbers = (path.name.split(".")[0] for path in self.folder.glob(f"*.{role}.json"))
        return sorted(int(number) for number in numbers if number.isdigit())

    def _path(self, role: Role, version: int) -> Path:
        if role is Role.TIMESTAMP:
            return self.folder / f"{role}.json"
        return self.folder / f"{version}.{role}.json"

    def _read(self, kind: type[T], path: Path) -> Metadata[T]:
        try:
            found: Metadata[T] = Metadata.from_bytes(path.read_bytes())
        except (OSError, RepositoryError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        if not isinstance(found.signed, kind):
            raise InputError(f"{path} is of another role than its name says")
        return found


def sign(
    metadata: Metadata[T],
    role: Role,
    root: Root,
    signers: Sequence[Signer],
    now: datetime,
) -> bytes:
    """Sign a document.

    Args:
        metadata: Changed in place: times and signatures.
        role: Whose it is.
        root: Says which keys count and how long it holds.
        signers: Those keys, opened.
        now: UTC.

    Returns:
        The bytes to write.

    Raises:
        InputError: Too few of these keys count, or the document is longer than devices take.
    """
    metadata.signed.expires = lifetimes_of(root).until(role, now)
    metadata.signed.unrecognized_fields[SIGNED_AT_FIELD] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    if not is_valid(metadata, role, root):
        raise InputError(
            f"{role} metadata needs {root.roles[role].threshold} signatures of its keys: "
            "give the folder that holds them as --keys"
        )
    document = metadata.to_bytes(JSONSerializer(compact=True))
    if len(document) > MAX_METADATA_BYTES[role]:
        raise InputError(
            f"the {role} metadata would have {len(document)} bytes, devices take "
            f"{MAX_METADATA_BYTES[role]}: withdraw versions that nobody needs"
        )
    return document


def following(metadata: Metadata[T]) -> Metadata[T]:
    """Copy a document as its next version, to be changed and signed."""
    copied = copy.deepcopy(metadata)
    copied.signed.version += 1
    return copied


def is_valid(metadata: Metadata[Any], role: Role, root: Root) -> bool:
    """Say whether enough of the keys that the root names have signed."""
    try:
        root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        return False
    return True


def _no_root(folder: Path) -> InputError:
    return InputError(f"{folder} holds no root: make keys with 'secateur keys init'")


def _describe(content: tuple[int, bytes]) -> MetaFile:
    version, document = content
    return MetaFile.from_data(version, document, ["sha256"])


def _is_stale(
    metadata: Metadata[Any], role: Role, root: Root, now: datetime, named: Targets | Snapshot
) -> bool:
    signed = metadata.signed
    meta = signed.meta["targets.json"] if role is Role.SNAPSHOT else signed.snapshot_meta
    half = lifetimes_of(root).of(role) / 2
    return (
        meta.version != named.version
        or signed.expires - now < half
        or not is_valid(metadata, role, root)
    )
