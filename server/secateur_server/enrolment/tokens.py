"""One-time tokens with which a device asks for its first certificate.

A token is `{secret}.{fingerprint}`: the secret says that whoever asks is the device, the
fingerprint (SHA-256 of the authority's certificate) says to the device that it asks the right
authority. On disk is the secret's hash alone:

    {folder}/tokens/{sha256 of the secret}.json    device, expiry, and the key it was used for

A token that was used is good for the same key only, until it expires: a device that lost power
between the answer and its disk asks again.
"""

import datetime as dt
import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from secateur_protocols.ids import NAME_PATTERN
from secateur_server.adapters.files import write_atomically
from secateur_server.errors import InputError

SECRET_BYTES = 24


class TokenRefusedError(InputError):
    """Unknown, expired, or used by somebody else; the same words for each."""


@dataclass(frozen=True, slots=True)
class _Record:
    device: str
    expires: str
    key: str | None = None
    """SHA-256 of the public key that it was used for."""


class Tokens:
    """The tokens of one authority. Two processes may use one folder."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder / "tokens"
        self._fingerprint = fingerprint

    def make(self, device: str, *, now: dt.datetime, hours: float) -> str:
        """Make a token for a device.

        Raises:
            InputError: No device id.
        """
        if re.fullmatch(NAME_PATTERN, device) is None:
            raise InputError(f"{device!r} is no device id")
        self._sweep(now)
        secret = secrets.token_urlsafe(SECRET_BYTES)
        expires = (now + dt.timedelta(hours=hours)).isoformat()
        self._write(secret, _Record(device, expires))
        return f"{secret}.{self._fingerprint}"

    def redeem(self, secret: str, key: bytes, *, now: dt.datetime) -> str:
        """Use a token up for a public key, and say whose it is.

        Args:
            secret: The token, with or without its fingerprint.
            key: Of the request, in any fixed form.
            now: The time, with its zone.

        Raises:
            TokenRefusedError: It is not good for this; nothing was changed.
        """
        secret = secret.partition(".")[0]
        digest = hashlib.sha256(key).hexdigest()
        record = self._read(secret)
        is_good = (
            record is not None
            and dt.datetime.fromisoformat(record.expires) > now
            and record.key in {None, digest}
        )
        if record is None or not is_good:
            raise TokenRefusedError("the token is unknown, expired or used: make another one")
        if record.key is None:
            self._write(secret, replace(record, key=digest))
        return record.device

    def _path(self, secret: str) -> Path:
        return self._folder / f"{hashlib.sha256(secret.encode()).hexdigest()}.json"

    def _read(self, secret: str) -> _Record | None:
        try:
            return _Record(**json.loads(self._path(secret).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, secret: str, record: _Record) -> None:
        write_atomically(self._path(secret), json.dumps(asdict(record)).encode(), mode=0o600)

    def _sweep(self, now: dt.datetime) -> None:
        for path in self._folder.glob("*.json"):
            try:
                expires = dt.datetime.fromisoformat(json.loads(path.read_bytes())["expires"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if expires <= now:
                path.unlink(missing_ok=True)
