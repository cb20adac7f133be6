"""Private keys in files: encrypted ones for roles kept offline, and the URIs that name them.

A key is named by a URI of `securesystemslib.signer`, whose scheme says what holds it:

    sealed:root-1.key       a file of ours, encrypted with a passphrase
    file2:timestamp.pem     a plain file, for the coordinator's own roles
    hashivault:, gcpkms:..  what else that library knows

The encrypted form is OpenSSH's own, so that ``ssh-keygen -p -f FILE`` changes a passphrase.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PrivateFormat,
    load_ssh_private_key,
)
from securesystemslib.signer import (
    SIGNER_FOR_URI_SCHEME,
    CryptoSigner,
    Key,
    SecretsHandler,
    SSlibKey,
)

from secateur_server.errors import InputError

KDF_ROUNDS = 64
"""Of bcrypt: half a second for one try at a passphrase; OpenSSH's own default is 16."""

TRIES = 3
"""How often a passphrase is asked for."""


class Passphrases:
    """What may open a file: those that are known first, then what the operator types."""

    def __init__(self, known: list[str], ask: Callable[[str], str] | None = None) -> None:
        """Collect them.

        Args:
            known: Tried first, on every file.
            ask: Called with a file's name. ``None``: there is nobody to ask.
        """
        self._known = list(known)
        self._ask = ask

    def candidates(self, name: str) -> Iterator[str]:
        """Give one after the other for a file; what was typed is tried on the next one too."""
        yield from tuple(self._known)
        for _ in range(TRIES if self._ask is not None else 0):
            typed = self._ask(name) if self._ask is not None else ""
            self._known.append(typed)
            yield typed

    def handler(self, uri: str) -> SecretsHandler:
        """Give what securesystemslib calls for a secret: each call gives the next candidate.

        Raises:
            InputError: When called: none is left.
        """
        left = self.candidates(Path(uri.partition(":")[2]).name)

        def give(_name: str) -> str:
            candidate = next(left, None)
            if candidate is None:
                raise InputError(f"no passphrase opens {uri.partition(':')[2]}")
            return candidate

        return give


class SealedSigner(CryptoSigner):
    """A key in a file that a passphrase opens."""

    SCHEME = "sealed"

    @classmethod
    def from_priv_key_uri(
        cls,
        priv_key_uri: str,
        public_key: Key,
        secrets_handler: SecretsHandler | None = None,
    ) -> Self:
        """Open the file, asking for passphrases until one fits.

        Raises:
            InputError: None fits, or the file cannot be read or is no such key.
        """
        path = Path(unquote(priv_key_uri.partition(":")[2]))
        try:
            sealed = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read the key {path}: {error.strerror}") from error
        if secrets_handler is None or not isinstance(public_key, SSlibKey):
            raise InputError(f"{path} needs a passphrase, and a public key of a known kind")
        while True:
            passphrase = secrets_handler("passphrase").encode()
            try:
                private = load_ssh_private_key(sealed, passphrase)
            except ValueError:
                continue  # another passphrase
            except (TypeError, UnsupportedAlgorithm) as error:
                raise InputError(f"{path} is no key that a passphrase opens") from error
            return cls(private, public_key)


def seal(key: Ed25519PrivateKey, passphrase: str) -> bytes:
    """Encrypt a private key."""
    encryption = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(KDF_ROUNDS)
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, encryption.build(passphrase.encode())
    )


SIGNER_FOR_URI_SCHEME[SealedSigner.SCHEME] = SealedSigner
