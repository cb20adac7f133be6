"""The agent as a service, installed on a machine with a systemd of its own."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.systemd_machine import SystemdMachine

ROOT = Path(__file__).resolve().parents[2]
UNIT = "secateur-agent.service"
INSTALLER = str(ROOT / "deploy" / "install-agent.sh")
AGENT = "/opt/secateur/bin/secateur-agent"
OURS = ("/opt/secateur", "/etc/secateur", "/var/lib/secateur", f"/etc/systemd/system/{UNIT}")

pytestmark = pytest.mark.slow


def install(machine: SystemdMachine, distributions: Path, *options: str) -> str:
    [wheel] = distributions.glob("secateur-*.whl")
    source = ["--from", f"{wheel}[agent]", "--offline", str(distributions)]
    return machine.check("sh", INSTALLER, *source, *options)


def test_a_device_is_installed_infers_and_is_uninstalled_without_a_trace(
    machine: SystemdMachine, distributions: Path
) -> None:
    options = ["--device", "meter-7", "--broker", "mqtt://127.0.0.1:1883"]
    assert "installed and started" in install(machine, distributions, *options)
    machine.wait_for(UNIT, ActiveState="active", SubState="running", NRestarts="0")
    print(machine.journal(UNIT))
    print(machine.check("systemctl", "status", UNIT, "--no-pager"))
    assert 0
