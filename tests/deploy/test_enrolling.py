"""A device asks for its certificate with a token, and renews it, at a real server."""

import datetime as dt
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur_agent.adapters.identity import Identity, lifetime
from secateur_agent.credentials import Credentials, enroll, fetch_root
from secateur_agent.errors import ConfigError, SystemToolError
from secateur_agent.settings import BrokerSettings
from secateur_server.adapters.embedded_broker import find_mosquitto
from secateur_server.enrolment.authority import FleetAuthority
from secateur_server.enrolment.https import EnrolmentServer
from secateur_server.enrolment.tokens import Tokens
from support.agent_process import AgentProcess
from support.secured_broker import SecuredBroker, now
from support.waiting import wait_until

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


@pytest.fixture
def authority(tmp_path: Path) -> FleetAuthority:
    return FleetAuthority.create(tmp_path / "fleet-ca", now=now())


@pytest.fixture
def server(authority: FleetAuthority) -> Iterator[str]:
    server = EnrolmentServer(authority, host="127.0.0.1", port=0, names=["127.0.0.1"], now=now)
    server.start()
    yield f"https://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    return Credentials(tmp_path / "credentials")


def token(authority: FleetAuthority, device: str = "meter-7", hours: float = 1.0) -> str:
    tokens = Tokens(authority.folder, authority.fingerprint)
    return tokens.make(device, now=now(), hours=hours)


def subject(certificate: Path) -> str:
    command = ["openssl", "x509", "-noout", "-subject", "-in", str(certificate)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_token_brings_a_certificate_of_the_name_it_was_made_for(
    authority: FleetAuthority, server: str, credentials: Credentials
) -> None:
    enroll(server, token(authority), credentials)
    assert subject(credentials.certificate) == "subject=CN = meter-7"
    assert credentials.certificate.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in credentials.folder.iterdir()) == [
        "device.pem",
        "fleet-ca.crt",
    ]
    ssl.create_default_context(cafile=credentials.authority).load_cert_chain(
        credentials.certificate
    )


def test_the_root_comes_from_the_authority_that_is_trusted(
    authority: FleetAuthority, server: str, credentials: Credentials
) -> None:
    enroll(server, token(authority), credentials)
    with pytest.raises(ConfigError, match="there is none"):
        fetch_root(server, credentials)
    folder = authority.folder.parent / "registry" / "metadata"
    folder.mkdir(parents=True)
    (folder / "1.root.json").write_bytes(b"the root")
    assert fetch_root(server, credentials) == b"the root"


def test_a_token_is_good_for_one_device_alone(
    authority: FleetAuthority, server: str, credentials: Credentials, tmp_path: Path
) -> None:
    once = token(authority)
    enroll(server, once, credentials)
    thief = Credentials(tmp_path / "thief")
    with pytest.raises(ConfigError, match="used"):
        enroll(server, once, thief)
    assert not thief.certificate.exists()


def test_a_device_that_lost_the_answer_asks_again_with_the_same_token(
    authority: FleetAuthority, server: str, credentials: Credentials
) -> None:
    once = token(authority)
    enroll(server, once, credentials)
    # As after a power cut before the certificate was on disk: the key waits.
    pem = credentials.certificate.read_text()
    key = pem[pem.index("-----BEGIN PRIVATE KEY") :]
    credentials.certificate.unlink()
    (credentials.folder / "device.key.next").write_text(key)
    enroll(server, once, credentials)
    assert key in credentials.certificate.read_text()


@pytest.mark.parametrize("wrong", ["unknown", "expired"])
def test_a_token_that_is_not_good_brings_nothing(
    authority: FleetAuthority, server: str, credentials: Credentials, wrong: str
) -> None:
    bad = (
        f"nobody-made-this.{authority.fingerprint}"
        if wrong == "unknown"
        else token(authority, hours=-1)
    )
    with pytest.raises(ConfigError, match="refuses"):
        enroll(server, bad, credentials)
    assert authority.enrolled() == []


def test_a_device_does_not_give_its_token_to_another_authority(
    server: str, credentials: Credentials, tmp_path: Path
) -> None:
    other = FleetAuthority.create(tmp_path / "other", now=now())
    with pytest.raises(ConfigError, match="not the authority"):
        enroll(server, token(other), credentials)
    assert not credentials.folder.exists()


def test_nobody_there_is_told_in_one_line(
    authority: FleetAuthority, credentials: Credentials
) -> None:
    with pytest.raises(SystemToolError, match="no certificate from"):
        enroll("https://127.0.0.1:1", token(authority), credentials)


def configured(
    authority: FleetAuthority, folder: Path, url: str, age_days: int
) -> BrokerSettings:
    """Give a device a certificate of 90 days that is so old."""
    folder.mkdir()
    issued = authority.enroll("meter-7", now=now() - dt.timedelta(days=age_days))
    certificate = folder / "device.pem"
    certificate.write_bytes(issued.certificate + (issued.key or b""))
    return BrokerSettings(
        url="mqtts://127.0.0.1",
        ca_file=authority.certificate_path,
        cert_file=certificate,
        renew_url=url,
    )


def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left(
    authority: FleetAuthority, server: str, tmp_path: Path
) -> None:
    settings = configured(authority, tmp_path / "etc", server, age_days=80)
    identity = Identity(settings, tmp_path / "state")
    assert identity.renew_if_due(now().timestamp())
    renewed = tmp_path / "state" / "credentials" / "device.pem"
    assert subject(renewed) == "subject=CN = meter-7"
    assert lifetime(renewed)[1] > now().timestamp() + 85 * 86_400
    assert not identity.renew_if_due(now().timestamp())
    # After a restart the renewed one is used.
    assert not Identity(settings, tmp_path / "state").renew_if_due(now().timestamp())


def test_a_young_certificate_is_left_alone(
    authority: FleetAuthority, server: str, tmp_path: Path
) -> None:
    identity = Identity(configured(authority, tmp_path / "etc", server, 30), tmp_path / "state")
    assert not identity.renew_if_due(now().timestamp())


def test_a_revoked_certificate_is_not_renewed(
    authority: FleetAuthority, server: str, tmp_path: Path
) -> None:
    identity = Identity(configured(authority, tmp_path / "etc", server, 80), tmp_path / "state")
    authority.revoke("meter-7", now=now())
    with pytest.raises(ConfigError, match="revoked"):
        identity.renew_if_due(now().timestamp())


@pytest.mark.slow
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
def test_an_enrolled_agent_speaks_with_the_secured_broker(tmp_path: Path) -> None:
    with SecuredBroker(tmp_path / "broker") as broker:
        server = EnrolmentServer(
            broker.authority, host="127.0.0.1", port=0, names=["127.0.0.1"], now=now
        )
        server.start()
        out = tmp_path / "credentials"
        command = [sys.executable, "-m", "secateur_agent", "enroll", "--out", str(out)]
        where = [
            "--url",
            f"https://127.0.0.1:{server.port}",
            "--token",
            token(broker.authority),
        ]
        subprocess.run([*command, *where], check=True, timeout=120)
        server.stop()
        agent = AgentProcess(
            tmp_path / "agent",
            f'mqtts://127.0.0.1:{broker.device_port}"\n'
            f'ca_file = "{out}/fleet-ca.crt"\ncert_file = "{out}/device.pem',
            DIGITS / "evaluation.npz",
        )
        with agent, broker.user("_viewer") as viewer:
            viewer.subscribe("secateur/v1/default/meter-7/#")
            agent.start()
            wanted = "secateur/v1/default/meter-7/telemetry"
            wait_until(lambda: any(topic == wanted for topic, _ in viewer.heard))
            assert agent.stop() == 0
