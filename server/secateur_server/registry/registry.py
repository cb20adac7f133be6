"""Publish ladders and look them up; nothing that was published is ever changed.

    {root}/blobs/{digest}                     artifacts, golden inputs, ladder documents
    {root}/blobs/{digest}.gz                  the same in gzip, where that is smaller
    {root}/metadata/                          what `signing` has signed of them
    {root}/models/{model}/{version}.json      a copy of the ladder document
    {root}/models/{model}/latest              the version published last
    {root}/models/{model}/stable              the version devices have unless a rollout says so

A version exists once its document does, which is written after all of its blobs.
"""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from secateur_protocols.codec import decode_document, first_problem
from secateur_protocols.errors import ProtocolError
from secateur_protocols.ids import Digest, ModelName, Version
from secateur_protocols.manifest import MAX_LADDER_BYTES, Ladder
from secateur_protocols.state import LadderRef
from secateur_server.adapters.files import write_atomically
from secateur_server.core.context import Published
from secateur_server.errors import InputError

GZIP_LEVEL = 9
"""Packed once, unpacked by every device, which is as fast as from any level."""


class Registry:
    """One folder of published ladders."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.blobs_dir = root / "blobs"

    def publish(
        self,
        ladder_dir: Path,
        *,
        version: Version | None = None,
        sign: Callable[[Published], None] | None = None,
    ) -> Published:
        """Check a folder that ``prune`` wrote, and add it.

        Publishing the same once more changes nothing but which version is the latest.

        Args:
            ladder_dir: The folder.
            version: Another than its document says.
            sign: Called when all is there but the version is not yet the latest, so that
                no device is sent to a ladder that it may not install.

        Raises:
            InputError: The folder is not whole, or this version exists with other content.
        """
        published, blobs = _read_ladder_dir(ladder_dir, version)
        ladder, ref = published.ladder, published.ref
        document = self._document_path(ladder.model, ladder.version)
        existing = _read(document)
        if existing is not None and hashlib.sha256(existing).hexdigest() != ref.digest:
            msg = (
                f"{ladder.model} {ladder.version} is published with other content: "
                "prune with another --version"
            )
            raise InputError(msg)
        for digest, content in blobs.items():
            if not (self.blobs_dir / digest).exists():
                self._add_blob(digest, content)
        write_atomically(document, blobs[ref.digest])
        if sign is not None:
            sign(published)
        self._begin_stable(ladder)
        write_atomically(document.with_name("latest"), ladder.version.encode())
        return published

    def _begin_stable(self, ladder: Ladder) -> None:
        """Let the first version of a model be its stable one."""
        pointer = self._document_path(ladder.model, "x").with_name("stable")
        if not pointer.exists():
            first = _read(pointer.with_name("latest")) or ladder.version.encode()
            write_atomically(pointer, first)

    def note_stable(self, model: ModelName, version: Version) -> None:
        """Note which version is stable now: where a coordinator with a new database begins."""
        write_atomically(self._root / "models" / model / "stable", version.encode())

    def _add_blob(self, digest: Digest, content: bytes) -> None:
        packed = gzip.compress(content, GZIP_LEVEL, mtime=0)
        if len(packed) < len(content):
            write_atomically(self.blobs_dir / f"{digest}.gz", packed)
        write_atomically(self.blobs_dir / digest, content)

    def latest(self) -> dict[str, Published]:
        """Give the version published last of each model; what cannot be read is left out."""
        return self._pointed_at("latest")

    def names(self) -> set[ModelName]:
        """Give the models of which there is a version."""
        return {pointer.parent.name for pointer in (self._root / "models").glob("*/latest")}

    def stable(self) -> dict[ModelName, Published]:
        """Give the stable version of each model, as noted here."""
        return {**self.latest(), **self._pointed_at("stable")}

    def find(self, model: ModelName, version: Version) -> Published | None:
        """Give one version of a model; ``None``: it is not here or cannot be read."""
        content = _read(self._document_path(model, version))
        if content is None:
            return None
        try:
            ladder = decode_document(Ladder, content)
        except ProtocolError:
            return None
        return Published(_ref(ladder, content), ladder)

    def _pointed_at(self, name: str) -> dict[ModelName, Published]:
        found = {}
        for pointer in sorted((self._root / "models").glob(f"*/{name}")):
            version = (_read(pointer) or b"").decode(errors="replace")
            published = self.find(pointer.parent.name, version)
            if published is not None:
                found[published.ladder.model] = published
        return found

    def _document_path(self, model: str, version: str) -> Path:
        return self._root / "models" / model / f"{version}.json"


def _read_ladder_dir(
    ladder_dir: Path, version: Version | None
) -> tuple[Published, dict[str, bytes]]:
    path = ladder_dir / "ladder.json"
    document = _read(path)
    if document is None:
        raise InputError(f"{path} is missing: give a folder that 'secateur prune' wrote")
    if len(document) > MAX_LADDER_BYTES:
        raise InputError(f"{path} is longer than {MAX_LADDER_BYTES} bytes")
    try:
        ladder = decode_document(Ladder, document)
    except ProtocolError as error:
        raise InputError(f"{path}: {error}") from error
    if version is not None and version != ladder.version:
        ladder = _rename(ladder, version)
        document = ladder.model_dump_json(indent=1, exclude_none=True).encode()
    ref = _ref(ladder, document)
    blobs = {ref.digest: document}
    for manifest in ladder.levels:
        name = f"level-{manifest.level}"
        expected = (
            (f"{name}.tflite", manifest.digest),
            (f"{name}.golden.npz", manifest.golden.digest),
        )
        for file_name, digest in expected:
            blobs[digest] = _read_blob(ladder_dir / file_name, digest)
    return Published(ref, ladder), blobs


def _rename(ladder: Ladder, version: Version) -> Ladder:
    try:
        return Ladder.model_validate({**dict(ladder), "version": version})
    except ValidationError as error:
        raise InputError(f"--version: {first_problem(error)}") from error


def _read_blob(path: Path, digest: str) -> bytes:
    content = _read(path)
    if content is None:
        raise InputError(f"{path} is missing: prune again")
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(f"{path} is not what ladder.json describes: prune again")
    return content


def _ref(ladder: Ladder, document: bytes) -> LadderRef:
    digest = hashlib.sha256(document).hexdigest()
    return LadderRef(version=ladder.version, digest=digest, size_bytes=len(document))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
