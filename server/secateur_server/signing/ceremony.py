"""What an operator does with keys: make them, replace them, revoke them, sign anew.

Each deed is prepared in memory and written last, keys before what they signed: a failure
before the first write leaves nothing, one after it leaves keys that nothing names yet, and
the same command can be given again.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Targets

from secateur_server.errors import InputError
from secateur_server.signing.keyring import (
    KEYRING,
    KeyEntry,
    Keyring,
    NewKey,
    foreign_key,
    make_plain,
    make_private_folder,
    make_sealed,
    write_keyring,
    write_keys,
)
from secateur_server.signing.places import Places
from secateur_server.signing.repository import following, is_valid, sign
from secateur_server.signing.roles import (
    LIFETIMES_FIELD,
    OFFLINE,
    ONLINE,
    Lifetimes,
    Role,
)
from secateur_server.signing.sealed import Passphrases

FEWEST_PREFIX = 6
"""Characters of a key id that an operator has to give."""

MOST_ROOT_KEYS = 16
"""A root document has a bound, and each of its keys somebody who keeps it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the keys of a registry are made.

    Attributes:
        root_keys: Three: one may be lost.
        root_threshold: Two: one may be stolen.
    """

    root_keys: int = 3
    root_threshold: int = 2
    lifetimes: Lifetimes = field(default_factory=Lifetimes)

    def check(self) -> None:
        """Make sure that it makes sense.

        Raises:
            InputError: It does not.
        """
        if not 1 <= self.root_threshold <= self.root_keys <= MOST_ROOT_KEYS:
            raise InputError(
                f"{self.root_threshold} of {self.root_keys} root keys cannot sign: "
                f"--root-threshold is 1 to --root-keys, at most {MOST_ROOT_KEYS}"
            )


def initialize(places: Places, plan: Plan, passphrase: str, now: datetime) -> None:
    """Make all keys, and sign a registry that lists no ladder yet.

    Raises:
        InputError: There are keys or signed metadata already, or the plan makes no sense.
        ServerError: Something could not be written; nothing of it stays.
    """
    plan.check()
    offline_dir, online_dir, repository = (
        places.offline[0],
        places.online_dir,
        places.repository,
    )
    for path in (offline_dir / KEYRING, online_dir / KEYRING, repository.folder):
        if path.exists():
            raise InputError(f"{path} is there already: keys are made once, then rotated")
    offline = [
        make_sealed(Role.ROOT, f"root-{k + 1}", passphrase) for k in range(plan.root_keys)
    ]
    offline.append(make_sealed(Role.TARGETS, "targets-1", passphrase))
    online = [make_plain(role, f"{role}-1") for role in ONLINE]
    made = [path for path in (offline_dir, online_dir) if not path.exists()]
    try:
        for folder, keys in ((offline_dir, offline), (online_dir, online)):
            make_private_folder(folder)
            write_keys(Keyring(folder), keys)
        _write_first(places, _first_root([*offline, *online], plan), offline, now)
    except BaseException:
        for folder in (*made, repository.folder):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _first_root(keys: Sequence[NewKey], plan: Plan) -> Root:
    root = Root(consistent_snapshot=True)
    for key in keys:
        root.add_key(key.entry.to_key(), key.entry.role)
    root.roles[Role.ROOT].threshold = plan.root_threshold
    root.unrecognized_fields[LIFETIMES_FIELD] = plan.lifetimes.model_dump()
    return root


def _write_first(places: Places, root: Root, keys: Sequence[NewKey], now: datetime) -> None:
    def signers(role: Role) -> list[Signer]:
        return [key.signer for key in keys if key.entry.role is role]

    roots = sign(Metadata(root), Role.ROOT, root, signers(Role.ROOT), now)
    targets = sign(Metadata(Targets()), Role.TARGETS, root, signers(Role.TARGETS), now)
    places.repository.write(Role.ROOT, roots, 1)
    places.repository.write(Role.TARGETS, targets, 1)
    places.refresh(now)


@dataclass(frozen=True, slots=True)
class Replacement:
    """What takes a key's place.

    Attributes:
        uri: Of a private key that something else holds. ``None``: a key is made.
        public: PEM file of its public half.
        passphrase: Asked for where a key is made that is kept offline.
    """

    uri: str | None = None
    public: Path | None = None
    passphrase: Callable[[], str] = str


def rotate(
    places: Places,
    role: Role,
    replacement: Replacement,
    passphrases: Passphrases,
    now: datetime,
    *,
    key: str | None = None,
) -> dict[str, Any]:
    """Let another key take the place of one; what it had signed is signed again.

    Args:
        places: Where keys and root are.
        role: Whose key.
        replacement: What takes its place.
        passphrases: What opens the keys that have to sign.
        now: UTC.
        key: Which one goes: its id, or how that begins. ``None``: the role's only one.

    Returns:
        What changed, for printing.

    Raises:
        InputError: Too few keys are there to sign, or the key is none of the role's.
        ServerError: Something could not be written.
    """
    with places.repository.locked():
        root = places.repository.root()
        gone = _find_key(root.signed, role, key)
        ring = places.rings(role)[0]
        entry = _replace(role, ring, replacement)
        changed = following(root)
        changed.signed.add_key(entry.to_key(), role)
        changed.signed.revoke_key(gone, role)
        _succeed(places, root.signed, changed, passphrases, now, again=role is Role.TARGETS)
    return {
        "role": role.value,
        "removed": gone,
        "added": entry.to_key().keyid,
        "root_version": changed.signed.version,
    }


def revoke(places: Places, key: str, passphrases: Passphrases, now: datetime) -> dict[str, Any]:
    """Let a key count no longer, with nothing in its place.

    Returns:
        What changed, for printing.

    Raises:
        InputError: The key counts nowhere, or its role could not sign without it.
        ServerError: Something could not be written.
    """
    with places.repository.locked():
        root = places.repository.root()
        role = _role_of(root.signed, key)
        gone, held = _find_key(root.signed, role, key), root.signed.roles[role]
        if len(held.keyids) <= held.threshold:
            raise InputError(
                f"{role} takes {held.threshold} keys to sign and has {len(held.keyids)}: "
                f"replace one with 'secateur keys rotate {role}'"
            )
        changed = following(root)
        changed.signed.revoke_key(gone, role)
        _succeed(places, root.signed, changed, passphrases, now, again=role is Role.TARGETS)
    return {"role": role.value, "removed": gone, "root_version": changed.signed.version}


def renew(places: Places, passphrases: Passphrases, now: datetime) -> None:
    """Sign root and targets anew, before they expire.

    Raises:
        InputError: Too few keys are there to sign.
        ServerError: Something could not be written.
    """
    with places.repository.locked():
        root = places.repository.root()
        _succeed(places, root.signed, following(root), passphrases, now, again=True)


def _succeed(
    places: Places,
    before: Root,
    changed: Metadata[Root],
    passphrases: Passphrases,
    now: datetime,
    *,
    again: bool,
) -> None:
    """Write the next root, and what has to be signed again under it: the list if ``again``."""
    repository = places.repository
    signers = places.open(Role.ROOT, [before, changed.signed], passphrases)
    root = sign(changed, Role.ROOT, before, signers, now)
    if not is_valid(changed, Role.ROOT, changed.signed):
        raise InputError("too few keys of the next root are here to sign it")
    if again:
        listed = following(repository.targets())
        own = places.open(Role.TARGETS, [changed.signed], passphrases)
        targets = sign(listed, Role.TARGETS, changed.signed, own, now)
        repository.write(Role.TARGETS, targets, listed.signed.version)
    repository.write(Role.ROOT, root, changed.signed.version)
    places.refresh_locked(now)


def _replace(role: Role, ring: Keyring, replacement: Replacement) -> KeyEntry:
    """Put the new key on disk; until a root names it, it means nothing."""
    if replacement.uri is not None:
        if replacement.public is None:
            raise InputError("--uri names the private half: give the public one as --public")
        entry = foreign_key(role, replacement.uri, replacement.public)
        write_keyring(Keyring(ring.folder, {**ring.entries, entry.to_key().keyid: entry}))
        return entry
    number, suffix = 1, "key" if role in OFFLINE else "pem"
    while (ring.folder / f"{role}-{number}.{suffix}").exists():
        number += 1
    name = f"{role}-{number}"
    if role in ONLINE:
        new = make_plain(role, name)
    else:
        new = make_sealed(role, name, replacement.passphrase())
    write_keys(ring, [new])
    return new.entry


def _find_key(root: Root, role: Role, key: str | None) -> str:
    held: list[str] = list(root.roles[role].keyids)
    if key is None and len(held) == 1:
        return held[0]
    if key is None:
        known = ", ".join(key_id[:12] for key_id in held)
        raise InputError(f"{role} has {len(held)} keys: say which one as --key ({known})")
    found = [key_id for key_id in held if key_id.startswith(key)]
    if len(found) != 1 or len(key) < FEWEST_PREFIX:
        raise InputError(f"no single key of {role} is {key}: see 'secateur keys status'")
    return found[0]


def _role_of(root: Root, key: str) -> Role:
    for role in Role:
        if any(key_id.startswith(key) for key_id in root.roles[role].keyids):
            return role
    raise InputError(f"no role has a key {key}: see 'secateur keys status'")
