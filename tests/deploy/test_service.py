"""The agent as a service, installed on a machine with a systemd of its own."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support import systemd_machine
from support.systemd_machine import SystemdMachine
from support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
UNIT = "secateur-agent.service"
INSTALLER = str(ROOT / "deploy" / "install-agent.sh")
AGENT = "/opt/secateur/bin/secateur-agent"
OPERATOR = str(Path(sys.executable).with_name("secateur"))
OURS = (
    "/opt/secateur",
    "/etc/secateur",
    "/var/lib/secateur",
    "/run/secateur",
    f"/etc/systemd/system/{UNIT}",
    f"/etc/systemd/system/multi-user.target.wants/{UNIT}",
)
RECORD = "/var/lib/secateur/models/digits.json"
"""Names what is committed, once it is."""
PASSPHRASE = "a passphrase of tests"  # noqa: S105 - of nothing real
WAIT_S = 120.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def publish_and_serve(machine: SystemdMachine, ladder: Path, folder: Path) -> None:
    """Let a coordinator with a broker of its own run on the machine, with one ladder."""
    data, ready = str(folder / "data"), str(folder / "ready.json")
    keys = ["--keys", str(folder / "keys"), "--data", data]
    for command in (["keys", "init", *keys], ["publish", str(ladder), *keys]):
        machine.check("env", f"SECATEUR_PASSPHRASE={PASSPHRASE}", OPERATOR, *command)
    serve = [OPERATOR, "serve", "--data", data, "--ready-file", ready]
    machine.check("systemd-run", "--unit=coordinator", *serve)
    wait_until(lambda: machine.run("test", "-e", ready).returncode == 0, timeout_s=WAIT_S)


def install(machine: SystemdMachine, distributions: Path, *options: str) -> str:
    [wheel] = distributions.glob("secateur-*.whl")
    source = ["--from", f"{wheel}[agent]", "--offline", str(distributions)]
    return machine.check("sh", INSTALLER, *source, *options)


def make_device(machine: SystemdMachine, distributions: Path, folder: Path) -> None:
    root = str(folder / "data" / "registry" / "metadata" / "1.root.json")
    options = ["--device", "meter-7", "--broker", "mqtt://127.0.0.1:1883", "--root", root]
    assert "installed and started" in install(machine, distributions, *options)
    wait_until(lambda: serves(machine), timeout_s=WAIT_S)
    wait_until(lambda: '"ladder":{' in machine.run("cat", RECORD).stdout, timeout_s=WAIT_S)


@pytest.fixture(scope="module")
def installed(
    distributions: Path, digits_ladder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SystemdMachine]:
    """Install a device once, beside a coordinator; tests leave it installed."""
    if (why := systemd_machine.why_not()) is not None:
        pytest.skip(f"no systemd of our own: {why}")
    folder = tmp_path_factory.mktemp("service")
    with SystemdMachine(folder / "machine") as machine:
        publish_and_serve(machine, digits_ladder, folder)
        make_device(machine, distributions, folder)
        yield machine


@pytest.fixture
def service(installed: SystemdMachine) -> SystemdMachine:
    """Give the device as it is after an installation, whatever the test before did."""
    installed.check("rm", "-rf", f"/etc/systemd/system/{UNIT}.d")
    installed.check("systemctl", "daemon-reload")
    installed.check("systemctl", "restart", UNIT)
    wait_until(lambda: serves(installed), timeout_s=WAIT_S)
    return installed


def serves(machine: SystemdMachine) -> bool:
    """Ask for an inference, as a program on the device would."""
    request = {
        "inputs": [
            {
                "name": "serving_default_image:0",
                "shape": [1, 8, 8, 1],
                "datatype": "FP32",
                "data": np.zeros(64).tolist(),
            }
        ]
    }
    url = "http://127.0.0.1:8000/v2/models/digits/infer"
    done = machine.run(
        sys.executable,
        "-c",
        "import sys, urllib.request as u;"
        "print(u.urlopen(u.Request(sys.argv[1], sys.argv[2].encode()), timeout=10).read())",
        url,
        json.dumps(request),
    )
    return done.returncode == 0 and "outputs" in done.stdout


def presence(machine: SystemdMachine) -> str:
    [row] = json.loads(machine.check(OPERATOR, "devices", "--json"))
    state: str = row["state"]
    return state


def test_a_device_is_installed_infers_is_upgraded_and_leaves_no_trace(
    machine: SystemdMachine, distributions: Path, digits_ladder: Path, tmp_path: Path
) -> None:
    service = machine
    publish_and_serve(service, digits_ladder, tmp_path)
    make_device(service, distributions, tmp_path)
    service.wait_for(UNIT, ActiveState="active", SubState="running", NRestarts="0")
    wait_until(lambda: "digits level" in _status(service), timeout_s=WAIT_S)
    settings = "/etc/secateur/agent.toml"
    service.check("sh", "-c", f"echo '# mine' >> {settings}")
    record = service.check("cat", RECORD)

    install(service, distributions)  # again, with nothing said: an upgrade
    wait_until(lambda: serves(service), timeout_s=WAIT_S)
    assert "# mine" in service.check("cat", settings)
    assert service.check("cat", RECORD) == record

    service.check(AGENT, "uninstall")
    assert [path for path in OURS if service.run("ls", "-d", path).returncode == 0] == []
    assert service.run("id", "secateur").returncode != 0
    assert service.run("systemctl", "cat", UNIT).returncode != 0


def test_a_service_that_is_killed_comes_back_and_serves(service: SystemdMachine) -> None:
    for times in range(1, 4):
        service.check("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT)
        service.wait_for(UNIT, ActiveState="active", SubState="running", NRestarts=str(times))
        wait_until(lambda: serves(service), timeout_s=WAIT_S)


def test_a_control_process_that_stands_still_is_started_again_by_the_watchdog(
    service: SystemdMachine,
) -> None:
    folder = f"/etc/systemd/system/{UNIT}.d"
    drop_in = f"mkdir -p {folder} && printf '[Service]\\nWatchdogSec=3\\n' > {folder}/w.conf"
    service.check(
        "sh", "-c", f"{drop_in} && systemctl daemon-reload && systemctl restart {UNIT}"
    )
    wait_until(lambda: serves(service), timeout_s=WAIT_S)
    before = service.shows(UNIT, "MainPID", "NRestarts")
    service.check("kill", "-STOP", before["MainPID"])
    service.wait_for(UNIT, ActiveState="active", SubState="running", NRestarts="1")
    wait_until(lambda: serves(service), timeout_s=WAIT_S)
    assert "Watchdog timeout" in service.journal(UNIT)


def test_an_inference_process_that_stands_still_is_replaced(service: SystemdMachine) -> None:
    stopped = service.check("pgrep", "-f", "secateur_agent.inference").split()
    service.check("kill", "-STOP", *stopped)
    # By the agent itself: sooner than by the watchdog, and connections to the broker stay.
    wait_until(lambda: serves(service), timeout_s=WAIT_S)
    assert service.shows(UNIT, "NRestarts")["NRestarts"] == "0"
    assert not set(stopped) & set(service.check("pgrep", "-f", "secateur_agent.inf").split())


def test_a_service_that_is_stopped_says_so(service: SystemdMachine) -> None:
    wait_until(lambda: presence(service) == "online", timeout_s=WAIT_S)
    service.check("systemctl", "stop", UNIT)
    wait_until(lambda: presence(service) == "stopped", timeout_s=WAIT_S)


def test_the_service_is_confined(service: SystemdMachine) -> None:
    pid = service.shows(UNIT, "MainPID")["MainPID"]
    status = dict(
        line.split(":", 1) for line in service.check("cat", f"/proc/{pid}/status").splitlines()
    )
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert int(status["Uid"].split()[0]) != 0
    sensed = service.check("curl", "-s", "http://127.0.0.1:8000/metrics")
    assert "secateur_" in sensed


def test_after_a_power_cut_the_service_serves_at_boot_without_a_coordinator(
    service: SystemdMachine,
) -> None:
    service.cut_power()
    service.boot()  # without a coordinator: nothing starts it
    service.wait_for(UNIT, ActiveState="active", SubState="running")
    wait_until(lambda: serves(service), timeout_s=WAIT_S)


def _status(machine: SystemdMachine) -> str:
    return machine.shows(UNIT, "StatusText")["StatusText"]
