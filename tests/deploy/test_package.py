"""The Debian package, and the Ansible role: built and used on a machine with systemd."""

import shutil
import subprocess
from pathlib import Path

import pytest

from support.systemd_machine import SystemdMachine

ROOT = Path(__file__).resolve().parents[2]
UNIT = "secateur-agent.service"
AGENT = "/opt/secateur/bin/secateur-agent"
BROKER = "mqtt://127.0.0.1:1883"
BUILD_S = 900.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def package(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not here: this is no Debian")
    out = tmp_path_factory.mktemp("package")
    [wheel] = distributions.glob("secateur-*.whl")
    build = [str(ROOT / "deploy" / "debian" / "build-deb.sh"), str(wheel), str(out)]
    offline = ["--no-index", "--find-links", str(distributions)]
    subprocess.run([*build, *offline], check=True, timeout=BUILD_S)
    [made] = out.glob("*.deb")
    return made


def traces(machine: SystemdMachine) -> list[str]:
    folders = ("/opt/secateur", "/etc/secateur", "/var/lib/secateur", "/run/secateur")
    units = (f"/etc/systemd/system/{UNIT}", f"/etc/systemd/system/{UNIT}.d")
    return [path for path in (*folders, *units) if machine.run("ls", path).returncode == 0]


def test_the_package_installs_runs_and_is_purged_without_a_trace(
    machine: SystemdMachine, package: Path
) -> None:
    assert "finish with" in machine.check("dpkg", "--install", str(package))
    machine.check(AGENT, "install", "--device", "meter-7", "--broker", BROKER)
    machine.wait_for(UNIT, ActiveState="active", SubState="running")

    machine.check("dpkg", "--install", str(package))  # an upgrade
    machine.wait_for(UNIT, ActiveState="active", SubState="running")
    assert 'device = "meter-7"' in machine.check("cat", "/etc/secateur/agent.toml")

    machine.check("dpkg", "--remove", "secateur-agent")
    assert "/etc/secateur" in traces(machine), "a removal keeps the configuration"
    machine.check("dpkg", "--purge", "secateur-agent")
    assert traces(machine) == []
    assert machine.run("id", "secateur").returncode != 0


@pytest.mark.skipif(shutil.which("ansible-playbook") is None, reason="apt install ansible-core")
def test_the_ansible_role_makes_a_device_and_changes_nothing_the_second_time(
    machine: SystemdMachine, distributions: Path, tmp_path: Path
) -> None:
    [wheel] = distributions.glob("secateur-*.whl")
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(
        f"""
devices:
  vars:
    ansible_connection: local
    ansible_python_interpreter: /usr/bin/python3
    secateur_broker: {BROKER}
    secateur_package: "{wheel}[agent]"
    secateur_pip_options: --no-index --find-links {distributions}
    secateur_drop_ins:
      slow: |
        [Service]
        Nice=5
  hosts:
    meter-7:
"""
    )
    play = [
        "env",
        "HOME=/root",
        "ansible-playbook",
        "-i",
        str(inventory),
        str(ROOT / "deploy" / "ansible" / "site.yml"),
    ]
    machine.check(*play)
    machine.wait_for(UNIT, ActiveState="active", SubState="running", Nice="5")
    assert 'device = "meter-7"' in machine.check("cat", "/etc/secateur/agent.toml")
    assert "changed=0" in machine.check(*play)
