"""Folders of keys: which there are, what role each has, and where its private half is.

{folder}/keyring.json      by key id: role, URI, public key
{folder}/root-1.key ..     encrypted private keys
{folder}/timestamp.pem ..  plain ones, of the coordinator's roles alone
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from secateur_protocols.codec import first_problem
from secateur_server.adapters.files import write_atomically
from secateur_server.errors import InputError, ServerError
from secateur_server.signing.roles import Role
from secateur_server.signing.sealed import Passphrases, SealedSigner, seal

KEYRING = "keyring.json"
FILE_SCHEMES = frozenset({SealedSigner.SCHEME, "file2"})
"""URIs that hold a path, relative to the keyring's folder."""

PRIVATE = 0o600


class KeyEntry(BaseModel):
    """One key of a keyring."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    uri: str
    public: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of Ed25519: devices verify it without a cryptographic library."""

    def to_key(self) -> SSlibKey:
        """Give the public key as metadata names it."""
        return SSlibKey.from_crypto(
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public))
        )


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: dict[str, KeyEntry]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made, and is not yet on disk.

    Attributes:
        content: Of its file.
        signer: The key, open.
    """

    entry: KeyEntry
    content: bytes
    signer: CryptoSigner

    @property
    def file_name(self) -> str:
        """Of its private half."""
        return self.entry.uri.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of one folder."""

    folder: Path
    entries: dict[str, KeyEntry] = field(default_factory=dict)

    def signer(self, key_id: str, passphrases: Passphrases) -> Signer:
        """Open one of its keys.

        Raises:
            InputError: It cannot be opened; the message names its file.
        """
        entry = self.entries[key_id]
        scheme, _, place = entry.uri.partition(":")
        uri = f"{scheme}:{self.folder / place}" if scheme in FILE_SCHEMES else entry.uri
        try:
            return Signer.from_priv_key_uri(uri, entry.to_key(), passphrases.handler(uri))
        except ServerError:
            raise
        except Exception as error:
            # What the signers of other schemes raise is documented nowhere.
            raise InputError(f"cannot use the key {entry.uri}: {error}") from error


def read_keyring(folder: Path) -> Keyring:
    """Read a folder of keys.

    Raises:
        InputError: It holds none, or the document is damaged.
    """
    path = folder / KEYRING
    try:
        document = _Document.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from error
    return Keyring(folder, document.keys)


def make_sealed(role: Role, name: str, passphrase: str) -> NewKey:
    """Make a key of an offline role."""
    private = Ed25519PrivateKey.generate()
    entry = _entry(role, f"{SealedSigner.SCHEME}:{name}.key", private.public_key())
    return NewKey(entry, seal(private, passphrase), CryptoSigner(private))


def make_plain(role: Role, name: str) -> NewKey:
    """Make a key of the coordinator's."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    entry = _entry(role, f"file2:{name}.pem", private.public_key())
    return NewKey(entry, pem, CryptoSigner(private))


def foreign_key(role: Role, uri: str, public_path: Path) -> KeyEntry:
    """Take on a key that something else holds.

    Raises:
        InputError: The public key cannot be read or is not of Ed25519, the one kind that a
            device verifies in plain Python.
    """
    try:
        public = load_pem_public_key(public_path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {public_path}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{public_path} is no public key in PEM") from error
    if not isinstance(public, Ed25519PublicKey):
        raise InputError(f"{public_path} is not an Ed25519 key: devices verify no other kind")
    return _entry(role, uri, public)


def write_keys(keyring: Keyring, new: Iterable[NewKey]) -> None:
    """Add keys to a folder: their files first, so that what is listed is there.

    Raises:
        ServerError: Something could not be written; what was listed before is as it was.
    """
    entries = dict(keyring.entries)
    for key in new:
        write_atomically(keyring.folder / key.file_name, key.content, mode=PRIVATE)
        entries[key.entry.to_key().keyid] = key.entry
    write_keyring(Keyring(keyring.folder, entries))


def write_keyring(keyring: Keyring) -> None:
    """Write the list of a folder's keys.

    Raises:
        ServerError: It could not be written; the old list holds.
    """
    document = _Document(keys=keyring.entries).model_dump_json(indent=1).encode()
    write_atomically(keyring.folder / KEYRING, document, mode=PRIVATE)


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner opens.

    Raises:
        ServerError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.chmod(folder, 0o700)  # noqa: PTH101 - as mkdir's mode is cut by the umask only
    except OSError as error:
        raise ServerError(f"cannot make {folder}: {error.strerror}") from error


def _entry(role: Role, uri: str, public: Ed25519PublicKey) -> KeyEntry:
    return KeyEntry(role=role, uri=uri, public=public.public_bytes_raw().hex())
