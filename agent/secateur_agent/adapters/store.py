"""What the device keeps: verified artifacts by digest, and three facts about its models.

    {root}/boot                  the number of this start
    {root}/models/{model}.json   the committed artifact, the one before it, and how often
                                 each digest failed
    {root}/blobs/{digest}        artifacts, golden inputs, ladder documents
    {root}/staging/{digest}      on their way in; may be cut anywhere, resumed by length

Everything but the committed record can be lost without losing the device: blobs are
hashed each time they are read, and what does not hash to its name is deleted. A disk that
has become read-only serves on: nothing new can be committed, and that is said.
"""

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from secateur_agent.adapters.files import flush_directory, storage_error, write_atomically
from secateur_agent.core.swap import MAX_REFUSALS, Artifact, Target
from secateur_agent.errors import AgentError, TransientError
from secateur_protocols.codec import decode_document
from secateur_protocols.errors import ProtocolError
from secateur_protocols.ids import Digest, ModelName
from secateur_protocols.manifest import Ladder, Manifest
from secateur_protocols.message import Message
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import LadderRef

MAX_BOOT = 2**53
"""As large as a number that travels may be."""

DIGEST = re.compile(r"[0-9a-f]{64}")
"""What a blob is called."""

CHUNK_BYTES = 1 << 20
"""Read at a time while hashing, so that memory does not grow with the artifact."""


class CommittedRecord(Message):
    """What ``models/{model}.json`` holds."""

    ladder: LadderRef | None = None
    manifest: Manifest | None = None
    previous_ladder: LadderRef | None = None
    previous_manifest: Manifest | None = None
    refusals: dict[Digest, int] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered of one model across a restart.

    Attributes:
        incumbent: The committed artifact, or the one before it where that is damaged.
        problem: What was damaged. ``None``: nothing.
    """

    incumbent: Artifact | None = None
    refusals: Mapping[Digest, int] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """The store is open.

    Attributes:
        boot: The number of this boot: larger than that of every boot before it.
        problem: Why nothing can be written. ``None``: everything can.
    """

    boot: int
    problem: str | None = None


class Store:
    """The agent's folder. Used by one agent at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._blobs = root / "blobs"
        self._staging = root / "staging"
        self._models = root / "models"
        self.changing = threading.Lock()
        """Held while blobs appear or go, on whatever thread."""

    def open(self) -> Opened:
        """Make the folders and count one more boot.

        Raises:
            AgentError: The folder cannot be written, and holds nothing that could serve.
        """
        path = self._root / "boot"
        boot = _next_boot(path)
        try:
            for folder in (self._blobs, self._staging, self._models):
                folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, f"{boot}\n".encode())
        except OSError as error:
            raise storage_error(error, self._root) from error
        except AgentError as error:
            if not any(self._models.glob("*.json")):
                raise
            return Opened(boot, f"nothing can be committed: {error}")
        return Opened(boot)

    def recall(self, model: ModelName) -> Kept:
        """Read what was committed and refused; a record that cannot be read is none.

        The incumbent's blob has been hashed. If it is not whole, the artifact before it takes
        its place, and if that is not whole either, there is no incumbent. Likewise if it has
        been refused since it was committed; where nothing was before it, it serves all the
        same.
        """
        record = self._read_record(model)
        committed = _artifact(record.ladder, record.manifest)
        if committed is None:
            return Kept(None, record.refusals)
        name = f"{model}: the committed {committed.digest[:12]}"
        if not self.holds(committed.digest):
            problem = f"{name} is damaged or gone"
            return Kept(self.previous(model), record.refusals, problem)
        if record.refusals.get(committed.digest, 0) >= MAX_REFUSALS:
            before = self.previous(model)
            if before is not None:
                return Kept(before, record.refusals, f"{name} hangs, the one before it serves")
        return Kept(committed, record.refusals)

    def previous(self, model: ModelName) -> Artifact | None:
        """Give the artifact that was committed before; ``None``: none, or it is not whole."""
        record = self._read_record(model)
        previous = _artifact(record.previous_ladder, record.previous_manifest)
        return previous if previous is not None and self.holds(previous.digest) else None

    def commit(self, model: ModelName, artifact: Artifact) -> None:
        """Make an artifact the one that serves after a restart, and forgive it all failures.

        Raises:
            AgentError: The record could not be written; the old one holds.
        """
        record = self._read_record(model)
        update = {
            "ladder": artifact.target.ladder,
            "manifest": artifact.manifest,
            "refusals": {d: n for d, n in record.refusals.items() if d != artifact.digest},
        }
        before = record.manifest
        is_good = before is not None and record.refusals.get(before.digest, 0) < MAX_REFUSALS
        if is_good and before is not None and before.digest != artifact.digest:
            update["previous_ladder"] = record.ladder
            update["previous_manifest"] = before
        self._write_record(model, record.model_copy(update=update))

    def committed_ladder(self, model: ModelName) -> Digest | None:
        """Name the ladder that serves after a restart."""
        ladder = self._read_record(model).ladder
        return ladder.digest if ladder is not None else None

    def refuse(self, model: ModelName, digest: Digest, count: int) -> None:
        """Remember how often an artifact failed; 0 forgets it.

        Raises:
            AgentError: The record could not be written; the old one holds.
        """
        record = self._read_record(model)
        refusals = {known: n for known, n in record.refusals.items() if known != digest}
        if count > 0:
            refusals[digest] = count
        self._write_record(model, record.model_copy(update={"refusals": refusals}))

    def blob_path(self, digest: Digest) -> Path:
        """Say where an artifact's bytes are, if they are held."""
        return self._blobs / digest

    def staging_path(self, digest: Digest) -> Path:
        """Say where an artifact's bytes gather while they come in."""
        return self._staging / digest

    def holds(self, digest: Digest) -> bool:
        """Hash a blob; one that is not what its name says is deleted."""
        path = self.blob_path(digest)
        try:
            if _hash(path) == digest:
                return True
            path.unlink()
        except OSError:
            return False
        return False

    def admit(self, digest: Digest) -> None:
        """Move what was staged among the blobs, if it hashes to its name.

        Raises:
            TransientError: It does not; the staged bytes are gone.
            AgentError: The disk failed.
        """
        staged = self.staging_path(digest)
        try:
            if _hash(staged) != digest:
                staged.unlink(missing_ok=True)
                msg = f"what was fetched is not {digest[:12]}"
                raise TransientError(msg, ReasonCode.DIGEST_MISMATCH)
            _flush(staged)
            with self.changing:
                staged.replace(self.blob_path(digest))
            flush_directory(self._blobs)
        except OSError as error:
            raise storage_error(error, staged) from error

    def read_ladder(self, ref: LadderRef) -> Ladder:
        """Read a ladder document that is held.

        Raises:
            TransientError: It is not held, or is not what its digest says.
            ProtocolError: It is held, and no ladder.
        """
        document = self.read(ref.digest)
        return decode_document(Ladder, document)

    def read(self, digest: Digest) -> bytes:
        """Read a blob and hash what was read.

        Raises:
            TransientError: It is not held, or not what its name says.
        """
        try:
            content = self.blob_path(digest).read_bytes()
        except OSError as error:
            raise storage_error(error, self.blob_path(digest)) from error
        if hashlib.sha256(content).hexdigest() != digest:
            msg = f"{digest[:12]} is damaged on disk"
            raise TransientError(msg, ReasonCode.DIGEST_MISMATCH)
        return content

    def held(self) -> tuple[Digest, ...]:
        """List the blobs by name, without hashing them; what has another name is none."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._blobs))
        except OSError:
            return ()
        return tuple(name for name in names if DIGEST.fullmatch(name))

    def sweep(self, keep: Iterable[Digest], *, staged: Iterable[Digest] = ()) -> None:
        """Delete every blob that is not to be kept, and what is staged for nobody.

        Args:
            keep: Blobs that stay.
            staged: What may be on its way in.

        What a model would fall back to is kept as well. What cannot be deleted stays.
        """
        kept = set(keep)
        for path in self._models.glob("*.json"):
            previous = self._read_record(path.stem).previous_manifest
            kept |= {previous.digest} if previous is not None else set()
        for folder, names in ((self._blobs, kept), (self._staging, set(staged))):
            for path in folder.iterdir():
                if path.name not in names:
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _read_record(self, model: ModelName) -> CommittedRecord:
        try:
            return decode_document(CommittedRecord, self._record_path(model).read_bytes())
        except (OSError, ProtocolError):
            return CommittedRecord()

    def _write_record(self, model: ModelName, record: CommittedRecord) -> None:
        write_atomically(self._record_path(model), record.model_dump_json().encode())

    def _record_path(self, model: ModelName) -> Path:
        return self._models / f"{model}.json"


def _artifact(ladder: LadderRef | None, manifest: Manifest | None) -> Artifact | None:
    if ladder is None or manifest is None:
        return None
    return Artifact(Target(ladder, manifest.level), manifest)


def _next_boot(path: Path) -> int:
    """Count on from the last boot that was written down.

    Every second since then counts as one more: on a disk that has become read-only no boot
    is written down, and each must still come after the one before. A clock that went back
    adds nothing.
    """
    try:
        last = int(path.read_text(encoding="ascii"))
        since_s = time.time() - path.stat().st_mtime
    except (OSError, ValueError):
        return 1
    return min(last + 1 + max(0, int(since_s)), MAX_BOOT)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
