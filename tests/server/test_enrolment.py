"""The fleet's certificate authority, and the commands that use it."""

import datetime as dt
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from secateur_server.cli.app import run
from secateur_server.enrolment.authority import FleetAuthority
from secateur_server.errors import InputError

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def authority(tmp_path: Path) -> FleetAuthority:
    return FleetAuthority.create(tmp_path / "fleet-ca", now=NOW)


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def revoked(authority: FleetAuthority) -> set[int]:
    content = authority.revocations_path.read_bytes()
    return {each.serial_number for each in x509.load_pem_x509_crl(content)}


def test_the_authoritys_key_is_for_its_owner_alone(authority: FleetAuthority) -> None:
    assert (authority.folder / "fleet-ca.key").stat().st_mode & 0o777 == 0o600


def test_a_second_authority_does_not_replace_the_first(authority: FleetAuthority) -> None:
    before = authority.certificate_path.read_bytes()
    with pytest.raises(InputError, match="already"):
        FleetAuthority.create(authority.folder, now=NOW)
    assert authority.certificate_path.read_bytes() == before


def test_a_folder_without_an_authority_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="secateur keys init"):
        FleetAuthority(tmp_path)


@pytest.mark.parametrize("name", ["", "_coordinator", "Meter", "a b", "a" * 65, "meter\n", "+"])
def test_only_device_ids_are_enrolled(authority: FleetAuthority, name: str) -> None:
    with pytest.raises(InputError, match="device id"):
        authority.enroll(name, now=NOW)
    assert authority.enrolled() == []


def test_a_request_keeps_the_key_on_the_device_and_says_nothing_else(
    authority: FleetAuthority,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.enroll("meter-7", now=NOW, csr=request(key))
    certificate = x509.load_pem_x509_certificate(issued.certificate)
    assert issued.key is None
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=meter-7"


@pytest.mark.parametrize(
    "csr", [b"", b"no request", request(rsa.generate_private_key(65537, 2048))]
)
def test_what_is_no_request_issues_nothing(authority: FleetAuthority, csr: bytes) -> None:
    with pytest.raises(InputError, match="request"):
        authority.enroll("meter-7", now=NOW, csr=csr)
    assert authority.enrolled() == []


def test_revoking_shuts_out_all_certificates_of_one_device_alone(
    authority: FleetAuthority,
) -> None:
    serials = [
        x509.load_pem_x509_certificate(issued.certificate).serial_number
        for issued in [
            authority.enroll(name, now=NOW) for name in ("meter-7", "meter-7", "meter-8")
        ]
    ]
    assert authority.revoke("meter-7", now=NOW) == 2
    assert revoked(authority) == set(serials[:2])
    assert [each.is_revoked for each in authority.enrolled()] == [True, True, False]


def test_a_device_is_enrolled_again_after_it_was_revoked(authority: FleetAuthority) -> None:
    authority.enroll("meter-7", now=NOW)
    authority.revoke("meter-7", now=NOW)
    again = x509.load_pem_x509_certificate(authority.enroll("meter-7", now=NOW).certificate)
    assert again.serial_number not in revoked(authority)


def test_what_has_expired_is_dropped_from_folder_and_list(authority: FleetAuthority) -> None:
    authority.enroll("meter-7", now=NOW, days=1)
    authority.revoke("meter-7", now=NOW)
    later = NOW + dt.timedelta(days=2)
    with pytest.raises(InputError, match="no certificate"):
        authority.revoke("meter-7", now=later)
    authority.enroll("meter-7", now=later)
    authority.write_revocations(later)
    assert revoked(authority) == set()
    assert len(authority.enrolled()) == 1


def test_a_device_is_enrolled_listed_and_revoked_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FleetAuthority.create(tmp_path / "fleet-ca", now=dt.datetime.now(dt.UTC))
    data = ["--data", str(tmp_path), "--json"]
    out = tmp_path / "out"

    assert run(["enroll", "meter-7", "--out", str(out), *data]) == 0
    assert json.loads(capsys.readouterr().out)["device"] == "meter-7"
    assert (out / "device.pem").stat().st_mode & 0o777 == 0o600
    x509.load_pem_x509_certificate((out / "device.pem").read_bytes())

    assert run(["certificate", "broker", "127.0.0.1", "--out", str(out), *data]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == 4

    assert run(["revoke", "meter-7", *data]) == 0
    assert json.loads(capsys.readouterr().out)["revoked"] == 1

    assert run(["certificate", "list", *data]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["device"], row["revoked"]) == ("meter-7", True)


def test_the_ceremony_of_keys_makes_the_authority_and_never_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECATEUR_PASSPHRASE", "a passphrase of tests")
    data = tmp_path / "data"
    assert run(["keys", "init", "--keys", str(tmp_path / "keys"), "--data", str(data)]) == 0
    before = FleetAuthority(data / "fleet-ca").certificate_path.read_bytes()
    assert run(["keys", "init", "--keys", str(tmp_path / "more"), "--data", str(data)]) == 2
    assert FleetAuthority(data / "fleet-ca").certificate_path.read_bytes() == before
