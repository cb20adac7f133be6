"""The check of signed metadata, in a process that lives as long as one question.

``python -P -m secateur_agent.trust`` reads one `CheckRequest`, asks for the files of
metadata it needs, and writes one `Verdict`. The rules are those of The Update Framework,
kept by python-tuf; its libraries stay out of the agent's memory, and metadata made to take
all time or memory takes it here, under limits. Signatures are Ed25519, in plain Python.
"""

import base64
import contextlib
import json
import os
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Signed, TargetFile, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from secateur_agent.trust.words import (
    CPU_S,
    MEMORY_BYTES,
    Brought,
    CheckRequest,
    Line,
    Verdict,
    Wanted,
)
from secateur_protocols.codec import decode_document
from secateur_protocols.errors import ProtocolError
from secateur_protocols.ota import ReasonCode
from secateur_protocols.trust import (
    MAX_METADATA_BYTES,
    SIGNED_AT_FIELD,
    LadderTerms,
    ladder_path,
)

BASE = "repository:/"
"""In front of each path: python-tuf thinks in addresses."""

CONFIG = UpdaterConfig(
    root_max_length=MAX_METADATA_BYTES["root"],
    timestamp_max_length=MAX_METADATA_BYTES["timestamp"],
    snapshot_max_length=MAX_METADATA_BYTES["snapshot"],
    targets_max_length=MAX_METADATA_BYTES["targets"],
)


REASONS: tuple[tuple[type[Exception], ReasonCode], ...] = (
    (exceptions.ExpiredMetadataError, ReasonCode.METADATA_EXPIRED),
    (exceptions.BadVersionNumberError, ReasonCode.VERSION_FLOOR),
    (exceptions.RepositoryError, ReasonCode.SIGNATURE_INVALID),
    (exceptions.DownloadError, ReasonCode.SIGNATURE_INVALID),  # missing, or too long
)
"""Why, by what python-tuf raises; the first that fits."""

MAX_DETAIL = 1000
"""Characters of a reason: hostile metadata may be quoted in it."""


class RefusedError(Exception):
    """The ladder may not be installed."""

    def __init__(self, reason: ReasonCode, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class PipeFetcher(FetcherInterface):
    """Asks the agent for each file."""

    def _fetch(self, url: str) -> None:  # type: ignore[override]
        raise NotImplementedError(url)  # all goes through download_bytes, which has the bound

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Get a file of metadata of at most so many bytes."""
        path = url.removeprefix(BASE).lstrip("/")
        say(Line(wanted=Wanted(path=path, max_bytes=max_length)))
        brought = Brought.model_validate_json(sys.stdin.buffer.readline())
        if brought.content is not None:
            return base64.b64decode(brought.content)
        if brought.is_missing:
            raise exceptions.DownloadHTTPError(f"the repository has no {path}", 404)
        if brought.is_too_long:
            raise exceptions.DownloadLengthMismatchError(f"{path} is too long")
        raise exceptions.DownloadError(f"{path} did not come")


def main() -> int:
    """Answer one question; 0 whenever a verdict was written."""
    request = CheckRequest.model_validate_json(sys.stdin.buffer.readline())
    _limit()
    try:
        verdict = check(request, PipeFetcher())
    except MemoryError:
        verdict = _invalid("it takes too much memory")
    say(Line(verdict=verdict))
    return 0


def say(line: Line) -> None:
    """Write one line to the agent."""
    sys.stdout.write(line.model_dump_json() + "\n")
    sys.stdout.flush()


def check(request: CheckRequest, fetcher: FetcherInterface) -> Verdict:
    """Bring the metadata up to date, and look whether it lists the ladder."""
    now = datetime.fromisoformat(request.now)
    try:
        return _check(request, fetcher, now)
    except RefusedError as error:
        return Verdict(reason=error.reason, detail=str(error))
    except OSError as error:
        detail = f"cannot keep metadata: {error.strerror}"
        return Verdict(reason=ReasonCode.LOAD_FAILED, detail=detail, is_unreachable=True)
    except Exception as error:  # noqa: BLE001 - whatever its author made parsing raise
        if type(error) is exceptions.DownloadError:
            return _unreachable(request, now, str(error))
        for kind, reason in REASONS:
            if isinstance(error, kind):
                return Verdict(reason=reason, detail=f"signed metadata: {error}"[:MAX_DETAIL])
        return _invalid(f"{type(error).__name__} while reading it")


def _check(request: CheckRequest, fetcher: FetcherInterface, now: datetime) -> Verdict:
    root = _read_root(Path(request.root_path))
    updater = Updater(
        request.metadata_dir,
        f"{BASE}metadata/",
        fetcher=fetcher,
        config=CONFIG,
        bootstrap=root,
    )
    trusted = updater._trusted_set  # noqa: SLF001 - it reads the clock, and has no setting
    # A clock before the root was signed is wrong, and so is one before the floor.
    trusted.reference_time = max([now, *_signed_at([trusted.root])])
    updater.refresh()
    _flush(Path(request.metadata_dir))
    verified = [trusted.root, trusted.timestamp, trusted.snapshot, trusted.targets]
    listed = trusted.targets.targets
    signed_at = max(_signed_at(verified), default=None)
    verdict = Verdict(
        signed_at=signed_at.isoformat() if signed_at else None,
        listed=tuple(digest for path, digest in request.known if _is(listed.get(path), digest)),
    )
    try:
        _look_up(request, listed)
    except RefusedError as error:
        return verdict.model_copy(update={"reason": error.reason, "detail": str(error)})
    return verdict


def _look_up(request: CheckRequest, listed: dict[str, TargetFile]) -> None:
    """Find the ladder in the list.

    Raises:
        RefusedError: It is not there, or not for this device.
    """
    model, ladder = request.model, request.ladder
    found = listed.get(ladder_path(model, ladder.version))
    if found is None:
        detail = f"{model} {ladder.version} is not, or no longer, listed"
        raise RefusedError(ReasonCode.VERSION_FLOOR, detail)
    if not _is(found, ladder.digest) or found.length != ladder.size_bytes:
        detail = f"{model} {ladder.version} is listed with another digest"
        raise RefusedError(ReasonCode.SIGNATURE_INVALID, detail)
    try:
        terms = decode_document(LadderTerms, json.dumps(found.custom).encode())
    except ProtocolError as error:
        raise RefusedError(ReasonCode.SIGNATURE_INVALID, str(error)) from error
    if (terms.model, terms.version) != (model, ladder.version):
        detail = f"{model} {ladder.version} is listed as {terms.model} {terms.version}"
        raise RefusedError(ReasonCode.SIGNATURE_INVALID, detail)
    classes = terms.hardware_classes
    if classes and request.hardware_class not in classes:
        detail = f"for {', '.join(classes)}, this device is {request.hardware_class}"
        raise RefusedError(ReasonCode.UNSUPPORTED_HARDWARE, detail)


def _is(found: TargetFile | None, digest: str) -> bool:
    return found is not None and found.hashes.get("sha256") == digest


def _read_root(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_METADATA_BYTES["root"] + 1)
    except OSError as error:
        detail = f"cannot read the pinned root {path}: {error.strerror}"
        raise RefusedError(ReasonCode.SIGNATURE_INVALID, detail) from error
    Metadata[Root].from_bytes(content)
    return content


def _unreachable(request: CheckRequest, now: datetime, detail: str) -> Verdict:
    """Say that what is held has expired, if it has: that is what the fleet should know.

    A device without network whose clock is wrong cannot know; then it has.
    """
    verdict = Verdict(reason=ReasonCode.CONNECTION_LOST, detail=detail, is_unreachable=True)
    with contextlib.suppress(exceptions.RepositoryError, OSError, exceptions.StorageError):
        path = Path(request.metadata_dir, "timestamp.json")
        held = Metadata[Timestamp].from_bytes(path.read_bytes()).signed
        expired = f"the metadata held holds until {held.expires:%Y-%m-%d}"
        if not request.is_clock_believed:
            expired = f"the clock is wrong, {expired}"
        if held.is_expired(now) or not request.is_clock_believed:
            detail = f"{expired}, and {detail}"
            return Verdict(reason=ReasonCode.METADATA_EXPIRED, detail=detail)
    return verdict


def _signed_at(documents: list[Signed]) -> list[datetime]:
    """Read when they were signed; one that does not say so says nothing about the clock."""
    found = []
    for document in documents:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            said = datetime.fromisoformat(document.unrecognized_fields[SIGNED_AT_FIELD])
            found.append(said.astimezone(UTC))
    return found


def _invalid(detail: str) -> Verdict:
    return Verdict(
        reason=ReasonCode.SIGNATURE_INVALID, detail=f"signed metadata: {detail}"[:MAX_DETAIL]
    )


def _flush(folder: Path) -> None:
    """Let what python-tuf has written outlive a power cut."""
    for path in (*folder.rglob("*.json"), folder):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _limit() -> None:
    for kind, limit in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, CPU_S)):
        _lower(kind, limit)
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            used = int(line.split()[1]) * 1024
            _lower(resource.RLIMIT_DATA, used + MEMORY_BYTES)


def _lower(kind: int, limit: int) -> None:
    """Set a limit, but never above one that holds already."""
    _, hard = resource.getrlimit(kind)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, hard))
