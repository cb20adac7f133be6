"""The fleet's certificate authority: one folder of certificates, and what was revoked.

    {folder}/fleet-ca.key                    the authority's private key, for its owner alone
    {folder}/fleet-ca.crt                    its certificate: what devices and brokers trust
    {folder}/fleet-ca.crl                    what was revoked: brokers read it
    {folder}/issued/{device}/{serial}.crt    devices' certificates that have not expired
    {folder}/revoked/{serial}                the end of a revoked certificate's life, ISO 8601

A certificate exists once its file does: it is written before it is given out.
"""

import datetime as dt
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secateur_protocols.ids import NAME_PATTERN
from secateur_server.adapters.files import write_atomically
from secateur_server.errors import InputError

AUTHORITY = "fleet-ca"
"""The authority's folder below the server's."""
AUTHORITY_DAYS = 3650
DEVICE_DAYS = 90
"""A device renews when a third is left; one that is off for longer is enrolled again."""
SERVER_DAYS = 825
"""Longer ones are refused by some TLS libraries."""

SKEW = dt.timedelta(days=1)
"""Certificates begin earlier by this: devices' clocks run late."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate, and its private key where we made it; both PEM."""

    certificate: bytes
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Enrolled:
    """One certificate of a device."""

    device: str
    serial: str
    """Hexadecimal, lowercase."""
    expires: dt.datetime
    is_revoked: bool


class FleetAuthority:
    """Issues and revokes. Two processes may use one folder: each file is written whole."""

    def __init__(self, folder: Path) -> None:
        """Open the authority in a folder.

        Raises:
            InputError: There is none, or its files cannot be read.
        """
        self.folder = folder
        self.certificate_path = folder / "fleet-ca.crt"
        self.revocations_path = folder / "fleet-ca.crl"
        try:
            self._certificate = x509.load_pem_x509_certificate(
                self.certificate_path.read_bytes()
            )
            key = serialization.load_pem_private_key(
                (folder / "fleet-ca.key").read_bytes(), password=None
            )
        except FileNotFoundError as error:
            raise InputError(f"no fleet CA in {folder}: run 'secateur keys init'") from error
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read the fleet CA in {folder}: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InputError(f"{folder / 'fleet-ca.key'} is not a key that we made")
        self._key = key

    @staticmethod
    def exists(data: Path) -> bool:
        """Say whether the server's folder holds an authority."""
        return (data / AUTHORITY / "fleet-ca.key").exists()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate, hexadecimal: what a token carries."""
        return self._certificate.fingerprint(hashes.SHA256()).hex()

    @classmethod
    def create(cls, folder: Path, *, now: dt.datetime) -> "FleetAuthority":
        """Make an authority with a key of its own.

        Raises:
            InputError: There is one already; it is left alone.
        """
        if (folder / "fleet-ca.key").exists():
            raise InputError(f"{folder} holds a fleet CA already: its devices trust it")
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Secateur fleet CA")])
        certificate = (
            _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_AUTHORITY_USAGE, critical=True)
            .add_extension(_identifier(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_atomically(folder / "fleet-ca.key", _key_pem(key), mode=0o600)
        write_atomically(folder / "fleet-ca.crt", _pem(certificate))
        authority = cls(folder)
        authority.write_revocations(now)
        return authority

    def enroll(
        self,
        device: str,
        *,
        now: dt.datetime,
        days: int = DEVICE_DAYS,
        csr: bytes | None = None,
    ) -> Issued:
        """Issue a device its certificate: CN is its name, usable by clients alone.

        Args:
            device: A device id.
            now: The time, with its zone.
            days: How long it lives.
            csr: The device's request, PEM, so that its key never leaves it; only the public
                key is taken from it. ``None``: a key is made here.

        Raises:
            InputError: No device id, or the request is none or not signed by its key.
        """
        if re.fullmatch(NAME_PATTERN, device) is None:
            raise InputError(
                f"{device!r} is no device id: lower-case letters, digits and inner hyphens, "
                "1 to 64 characters"
            )
        made = ec.generate_private_key(ec.SECP256R1()) if csr is None else None
        public = made.public_key() if made is not None else _requested_key(csr or b"")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)])
        certificate = self._sign(
            _builder(subject, self._certificate.subject, public, now, days).add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
            )
        )
        self._drop_expired(device, now)
        path = self.folder / "issued" / device / f"{certificate.serial_number:x}.crt"
        write_atomically(path, _pem(certificate))
        return Issued(_pem(certificate), _key_pem(made) if made is not None else None)

    def certify_server(
        self, hosts: Sequence[str], *, now: dt.datetime, days: int = SERVER_DAYS
    ) -> Issued:
        """Issue a broker or coordinator the certificate by which devices know it.

        Args:
            hosts: The names and IP addresses by which devices reach it; at least one.
            now: The time, with its zone.
            days: How long it lives.

        Raises:
            InputError: No host was given.
        """
        if not hosts:
            raise InputError("name at least one host by which devices reach the server")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
        certificate = self._sign(
            _builder(subject, self._certificate.subject, key.public_key(), now, days)
            .add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
            )
        )
        return Issued(_pem(certificate), _key_pem(key))

    def revoke(self, device: str, *, now: dt.datetime) -> int:
        """Revoke every certificate that a device holds.

        Returns:
            How many there were. A broker refuses them once it has read the new list.

        Raises:
            InputError: The device has no certificate that still lives.
        """
        alive = [each for each in self._certificates(device) if _end(each) > now]
        if not alive:
            raise InputError(f"{device} has no certificate that still lives")
        for certificate in alive:
            path = self.folder / "revoked" / f"{certificate.serial_number:x}"
            write_atomically(path, _end(certificate).isoformat().encode())
        self.write_revocations(now)
        return len(alive)

    def enrolled(self) -> list[Enrolled]:
        """List what was issued and has not been dropped, by device."""
        folders = sorted((self.folder / "issued").glob("*"))
        return [
            Enrolled(folder.name, serial, _end(each), self.is_revoked(serial))
            for folder in folders
            for each in self._certificates(folder.name)
            for serial in [f"{each.serial_number:x}"]
        ]

    def is_revoked(self, serial: str) -> bool:
        """Say whether a certificate was revoked, by its serial number in hexadecimal."""
        return (self.folder / "revoked" / serial).exists()

    def write_revocations(self, now: dt.datetime) -> None:
        """Write the list anew.

        It expires with the authority and not before: a broker refuses every device then.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - SKEW)
            .next_update(_end(self._certificate))
        )
        for path in sorted((self.folder / "revoked").glob("*")):
            if dt.datetime.fromisoformat(path.read_text()) <= now:
                path.unlink()  # it has expired, which no list needs to say
                continue
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(path.name, 16))
                .revocation_date(now)
                .build()
            )
        content = builder.sign(self._key, hashes.SHA256())
        write_atomically(
            self.revocations_path, content.public_bytes(serialization.Encoding.PEM)
        )

    def _certificates(self, device: str) -> list[x509.Certificate]:
        paths = sorted((self.folder / "issued" / device).glob("*.crt"))
        return [x509.load_pem_x509_certificate(path.read_bytes()) for path in paths]

    def _drop_expired(self, device: str, now: dt.datetime) -> None:
        for certificate in self._certificates(device):
            if _end(certificate) <= now:
                serial = f"{certificate.serial_number:x}"
                (self.folder / "issued" / device / f"{serial}.crt").unlink(missing_ok=True)

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return (
            builder.add_extension(
                x509.BasicConstraints(ca=False, path_length=None), critical=True
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )


_AUTHORITY_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _requested_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr)
        is_signed = request.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise InputError(f"this is no certificate request: {error}") from error
    key = request.public_key()
    if not is_signed or not isinstance(key, ec.EllipticCurvePublicKey):
        raise InputError("a certificate request must be signed by its own EC key")
    return key


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _identifier(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _end(certificate: x509.Certificate) -> dt.datetime:
    return certificate.not_valid_after_utc


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
