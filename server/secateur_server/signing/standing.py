"""How a signed registry stands: which keys count, what they signed, when it expires."""

from datetime import UTC, datetime
from typing import Any

from tuf.api.metadata import Metadata, Root

from secateur_server.signing.places import Places
from secateur_server.signing.repository import is_valid
from secateur_server.signing.roles import Role


def status(places: Places, now: datetime) -> dict[str, Any]:
    """Say which keys count, what is signed, and when it expires.

    Raises:
        InputError: The registry is not signed.
    """
    repository = places.repository
    root, targets = repository.root(), repository.targets()
    return {
        "root": str(repository.folder / f"{root.signed.version}.root.json"),
        "ladders": sorted(targets.signed.targets),
        "roles": {
            role.value: _stands(root.signed, role, metadata, now)
            for role, metadata in _held(places).items()
        },
    }


def _stands(
    root: Root, role: Role, metadata: Metadata[Any] | None, now: datetime
) -> dict[str, Any]:
    held = root.roles[role]
    facts: dict[str, Any] = {"keys": list(held.keyids), "threshold": held.threshold}
    if metadata is None or not is_valid(metadata, role, root):
        return {**facts, "version": None, "expires_at": None, "expired": True}
    expires: datetime = metadata.signed.expires
    return {
        **facts,
        "version": metadata.signed.version,
        "expires_at": expires.astimezone(UTC).isoformat(),
        "expired": expires <= now,
    }


def expiries(places: Places) -> dict[str, datetime | None]:
    """Say when the metadata of each role expires; nothing of a registry that is not signed.

    Raises:
        InputError: The metadata cannot be read.
    """
    if not places.repository.is_signed:
        return {}
    return {
        role.value: metadata.signed.expires.astimezone(UTC) if metadata is not None else None
        for role, metadata in _held(places).items()
    }


def _held(places: Places) -> dict[Role, Metadata[Any] | None]:
    repository = places.repository
    return {
        Role.ROOT: repository.root(),
        Role.TARGETS: repository.targets(),
        Role.SNAPSHOT: repository.snapshot(),
        Role.TIMESTAMP: repository.timestamp(),
    }
