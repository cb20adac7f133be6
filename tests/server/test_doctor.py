"""``secateur doctor`` on servers and brokers that are well, and broken in several ways."""

import json
import shutil
import sqlite3
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from secateur_protocols.topics import Leaf
from secateur_server.cli.app import run
from secateur_server.doctor import machine
from secateur_server.doctor.finding import Finding, Verdict
from support.coordinators import RunningCoordinator, Served
from support.scripted_device import ScriptedDevice
from support.secured_broker import PASSWORD, SecuredBroker
from support.signed import SignedRegistry
from support.situations import make_info

NOBODY = "mqtt://127.0.0.1:1"


def examined(
    capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, list[Finding]]]:
    capsys.readouterr()
    code = run(["doctor", "--json", *options])
    by_check: dict[str, list[Finding]] = {}
    for said in json.loads(capsys.readouterr().out):
        found = Finding(**{**said, "verdict": Verdict(said["verdict"])})
        by_check.setdefault(found.check, []).append(found)
    return code, by_check


def verdicts(found: list[Finding]) -> list[Verdict]:
    return [each.verdict for each in found]


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


@pytest.mark.broker
def test_a_server_that_runs_is_well_and_its_broker_for_trying_out_is_warned_of(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    device = ScriptedDevice(served.broker_url, "meter-7", make_info(deadline_ms=20.0))
    device.birth()
    device.next_desired()
    code, found = examined(capsys, "--data", str(served.data), "--broker", served.broker_url)
    device.close()
    assert code == 0
    for check in ("versions", "folder", "database", "registry", "coordinator", "artifacts"):
        assert verdicts(found[check]) == [Verdict.OK], found[check]
    assert "knows 1 devices" in found["coordinator"][0].text
    [access] = found["access"]
    assert access.verdict is Verdict.WARNING
    assert f"{Leaf.DESIRED} and {Leaf.TELEMETRY}" in access.text


@pytest.mark.broker
def test_what_is_broken_is_named_with_what_to_do_and_nothing_is_changed(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.process.terminate()
    served.process.wait(30.0)
    blob = next((served.data / "registry" / "blobs").iterdir())
    blob.write_bytes(b"damaged")
    with sqlite3.connect(served.data / "secateur.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
    connection.close()
    before = files_below(served.data)
    code, found = examined(capsys, "--data", str(served.data), "--broker", NOBODY)
    assert code == 1
    for check, words in {
        "database": "from-the-future",
        "registry": "missing or damaged",
        "broker": "no broker at 127.0.0.1:1",
    }.items():
        [one] = found[check]
        assert one.verdict is Verdict.PROBLEM
        assert words in one.text
        assert one.mend
    assert verdicts(found["coordinator"]) == [Verdict.SKIPPED]
    assert files_below(served.data) == before


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    with SecuredBroker(tmp_path_factory.mktemp("secured")) as broker:
        yield broker


def login(secured: SecuredBroker, user: str, password: str = PASSWORD) -> str:
    quoted = urllib.parse.quote(password)
    ca = secured.authority.certificate_path
    return f"mqtts://{user}:{quoted}@127.0.0.1:{secured.password_port}?ca={ca}"


@pytest.mark.broker
def test_the_deployed_broker_lets_an_operator_do_its_own_part_alone(
    secured: SecuredBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coordinator = RunningCoordinator(login(secured, "_coordinator"), tmp_path)
    coordinator.start()
    try:
        url = login(secured, "_operator")
        code, found = examined(capsys, "--data", str(tmp_path / "none"), "--broker", url)
    finally:
        coordinator.stop()
    assert code == 0
    assert verdicts(found["broker"]) == [Verdict.OK, Verdict.OK]
    assert verdicts(found["access"]) == [Verdict.OK]
    assert verdicts(found["coordinator"]) == [Verdict.OK]
    assert verdicts(found["folder"]) == [Verdict.SKIPPED]


@pytest.mark.broker
def test_a_wrong_password_is_told_and_not_shown(
    secured: SecuredBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = login(secured, "_operator", "wr0ng-word")
    code, found = examined(capsys, "--data", str(tmp_path / "none"), "--broker", url)
    assert code == 1
    assert verdicts(found["broker"]) == [Verdict.PROBLEM]
    assert run(["doctor", "--data", str(tmp_path / "none"), "--broker", url]) == 1
    assert "wr0ng-word" not in capsys.readouterr().out
    assert "wr0ng-word" not in found["broker"][0].text


def test_metadata_is_judged_by_how_long_it_holds(tmp_path: Path) -> None:
    places = SignedRegistry(tmp_path).places
    now = datetime.now(UTC)

    def roles(at: datetime) -> dict[str, Verdict]:
        found = machine.keys(places.data, at)
        return {each.text.partition(":")[0]: each.verdict for each in found}

    assert set(roles(now).values()) == {Verdict.OK}
    assert roles(now + timedelta(days=350))["targets"] is Verdict.WARNING
    assert roles(now + timedelta(days=350))["root"] is Verdict.OK
    assert set(roles(now + timedelta(days=4000)).values()) == {Verdict.PROBLEM}


def test_a_clock_behind_what_was_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    [found] = machine.clock(datetime(1970, 1, 1, tzinfo=UTC), tmp_path)
    assert found.verdict is Verdict.PROBLEM
