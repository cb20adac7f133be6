"""What the device keeps: verified artifacts by digest, and three facts about its models.

    {root}/boot                  how often the agent has started
    {root}/models/{model}.json   the committed artifact, and how often each digest failed
    {root}/blobs/{digest}        artifacts, golden inputs, ladder documents
    {root}/staging/{digest}      on their way in; may be cut anywhere, resumed by length

Everything but the committed record can be lost without losing the device: blobs are
hashed each time they are read, and what does not hash to its name is deleted.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from secateur_agent.adapters.files import flush_directory, storage_error, write_atomically
from secateur_agent.core.swap import Artifact, Target
from secateur_agent.errors import TransientError
from secateur_protocols.codec import decode_document
from secateur_protocols.errors import ProtocolError
from secateur_protocols.ids import Digest, ModelName
from secateur_protocols.manifest import Ladder, Manifest
from secateur_protocols.message import Message
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import LadderRef

CHUNK_BYTES = 1 << 20
"""Read at a time while hashing, so that memory does not grow with the artifact."""


class CommittedRecord(Message):
    """What ``models/{model}.json`` holds."""

    ladder: LadderRef | None = None
    manifest: Manifest | None = None
    refusals: dict[Digest, int] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered of one model across a restart."""

    incumbent: Artifact | None = None
    refusals: Mapping[Digest, int] = field(default_factory=dict)


class Store:
    """The agent's folder. Used by one agent at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._blobs = root / "blobs"
        self._staging = root / "staging"
        self._models = root / "models"

    def open(self) -> int:
        """Make the folders and count one more boot.

        Returns:
            The number of this boot, from 1; never the same twice.

        Raises:
            AgentError: The folder cannot be written.
        """
        try:
            for folder in (self._blobs, self._staging, self._models):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self._root) from error
        path = self._root / "boot"
        boot = _read_counter(path) + 1
        write_atomically(path, f"{boot}\n".encode())
        return boot

    def recall(self, model: ModelName) -> Kept:
        """Read what was committed and refused; a record that cannot be read is none.

        The incumbent's blob has been hashed; if it is not whole, there is no incumbent.
        """
        record = self._read_record(model)
        incumbent = None
        if record.ladder is not None and record.manifest is not None:
            artifact = Artifact(Target(record.ladder, record.manifest.level), record.manifest)
            incumbent = artifact if self.holds(artifact.digest) else None
        return Kept(incumbent, record.refusals)

    def commit(self, model: ModelName, artifact: Artifact) -> None:
        """Make an artifact the one that serves after a restart.

        Raises:
            AgentError: The record could not be written; the old one holds.
        """
        record = self._read_record(model).model_copy(
            update={"ladder": artifact.target.ladder, "manifest": artifact.manifest}
        )
        self._write_record(model, record)

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
        """List the blobs by name, without hashing them."""
        try:
            return tuple(sorted(entry.name for entry in os.scandir(self._blobs)))
        except OSError:
            return ()

    def sweep(self, keep: Iterable[Digest]) -> None:
        """Delete every blob and everything staged that is not to be kept."""
        kept = set(keep)
        for folder in (self._blobs, self._staging):
            for path in folder.iterdir():
                if path.name not in kept:
                    path.unlink(missing_ok=True)

    def _read_record(self, model: ModelName) -> CommittedRecord:
        try:
            return decode_document(CommittedRecord, self._record_path(model).read_bytes())
        except (OSError, ProtocolError):
            return CommittedRecord()

    def _write_record(self, model: ModelName, record: CommittedRecord) -> None:
        write_atomically(self._record_path(model), record.model_dump_json().encode())

    def _record_path(self, model: ModelName) -> Path:
        return self._models / f"{model}.json"


def _read_counter(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
