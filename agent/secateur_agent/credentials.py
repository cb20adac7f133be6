"""The device's certificate: asked for with a token, renewed with the one before.

    {folder}/device.pem        the certificate and its private key, in one file so that they
                               change together
    {folder}/fleet-ca.crt      whom the device trusts
    {folder}/device.key.next   a key whose certificate has not come yet; it is used again, so
                               that asking once more with the same token is answered the same

The key is made here and never leaves: `openssl`, which every Debian has, makes key and request,
so that the agent needs no cryptography of its own.
"""

import hashlib
import http.client
import ssl
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from secateur_agent.adapters.files import write_atomically
from secateur_agent.errors import ConfigError, SystemToolError

TIMEOUT_S = 20.0
MAX_ANSWER_BYTES = 1 << 20
PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Credentials:
    """The files in one folder."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """Certificate and key."""
        return self.folder / "device.pem"

    @property
    def authority(self) -> Path:
        """Whom the device trusts."""
        return self.folder / "fleet-ca.crt"

    def request(self) -> bytes:
        """Make a certificate request for a new key, or for the one made at the last try.

        Raises:
            SystemToolError: openssl is missing or fails.
        """
        following = self._next_key()
        if not following.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1")
            key = _run("openssl", "genpkey", *curve)
            write_atomically(following, key, mode=PRIVATE)
        # What the request calls the device does not matter: the authority knows whom it asks.
        return _run("openssl", "req", "-new", "-subj", "/CN=device", "-key", str(following))

    def take(self, certificate: bytes, authority: bytes) -> None:
        """Put a new certificate with its key in place."""
        key = self._next_key().read_bytes()
        write_atomically(self.authority, authority)
        write_atomically(self.certificate, certificate + key, mode=PRIVATE)
        self._next_key().unlink()

    def _next_key(self) -> Path:
        return self.folder / "device.key.next"


def enroll(url: str, token: str, credentials: Credentials) -> None:
    """Ask for the device's first certificate.

    Args:
        url: ``https://host:port`` of ``secateur certificate serve``.
        token: What ``secateur enroll DEVICE --token`` printed.
        credentials: Where the files go.

    Raises:
        ConfigError: The address, the token or the authority behind it is not good. What
            was there is left.
        SystemToolError: No answer, or openssl failed; try again.
    """
    _, _, fingerprint = token.partition(".")
    if not url.startswith("https://") or not fingerprint:
        raise ConfigError("enroll needs https://host:port and a whole token")
    # Nobody to trust yet: what comes is compared with what the token says.
    stranger = ssl.create_default_context()
    stranger.check_hostname = False
    stranger.verify_mode = ssl.CERT_NONE
    authority = _ask(url, "/fleet-ca.crt", stranger)
    if _fingerprint(authority) != fingerprint:
        raise ConfigError(f"{url} is not the authority that made this token")
    context = ssl.create_default_context(cadata=authority.decode())
    answer = _ask(url, "/enroll", context, body=credentials.request(), token=token)
    credentials.take(answer, authority)


def fetch_root(url: str, credentials: Credentials) -> bytes:
    """Bring the root whose models may run here, from the authority that is trusted already.

    Raises:
        ConfigError: It has none.
        SystemToolError: No answer; try again.
    """
    return _ask(url, "/root.json", ssl.create_default_context(cafile=credentials.authority))


def renew(url: str, held: ssl.SSLContext, authority: bytes, new: Credentials) -> None:
    """Get a new certificate for the one that is held.

    Args:
        url: As for `enroll`.
        held: Shows what we have, and trusts the authority.
        authority: Its certificate, PEM, to be kept beside the new one.
        new: Where the new one goes.

    Raises:
        ConfigError: The authority refuses: the certificate has expired or was revoked.
        SystemToolError: No answer, or openssl failed; try again.
    """
    new.take(_ask(url, "/renew", held, body=new.request()), authority)


def _fingerprint(certificate: bytes) -> str:
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate.decode())
    except ValueError:
        return ""
    return hashlib.sha256(der).hexdigest()


def _ask(
    url: str,
    path: str,
    context: ssl.SSLContext,
    *,
    body: bytes | None = None,
    token: str | None = None,
) -> bytes:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url.rstrip('/')}{path}", data=body, headers=headers)  # noqa: S310 - https, as was checked
    host = urlsplit(url).netloc
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as answer:  # noqa: S310 - as above
            content: bytes = answer.read(MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < http.client.INTERNAL_SERVER_ERROR:
            raise ConfigError(f"{host} refuses: {error.reason}") from error
        raise SystemToolError(f"{host}: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise SystemToolError(f"no certificate from {host}: {error}") from error
    return content


def _run(*command: str) -> bytes:
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT_S)  # noqa: S603 - openssl
    except (OSError, subprocess.SubprocessError) as error:
        raise SystemToolError(f"openssl: {error}") from error
    return done.stdout
