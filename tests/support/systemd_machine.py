"""A machine of the test's own, systemd its PID 1: namespaces over this machine's files."""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psutil

from support.waiting import wait_until

BOOT = Path(__file__).with_name("boot_systemd.sh")
SYSTEMD = Path("/lib/systemd/systemd")
NEW = ["--pid", "--fork", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--kill-child"]
COMMAND_S = 300.0


def why_not() -> str | None:
    """Say why no such machine can be had here; ``None``: it can."""
    if os.geteuid() != 0:
        return "needs root, for namespaces and an overlay"
    if not SYSTEMD.exists():
        return "systemd is not installed"
    if any(shutil.which(program) is None for program in ("unshare", "nsenter")):
        return "util-linux is not installed"
    tried = subprocess.run(
        ["unshare", *NEW, "mount", "--make-rprivate", "/"],
        capture_output=True,
        check=False,
        timeout=COMMAND_S,
    )
    return None if tried.returncode == 0 else f"no namespaces: {tried.stderr.decode()[:100]}"


class SystemdMachine:
    """Boots on entering and ends on leaving; its files stay in the layer until then."""

    def __init__(self, folder: Path) -> None:
        self.layer = folder
        self.upper = folder / "upper"
        """What was written over this machine's files."""
        self._outer: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_power()

    def boot(self) -> None:
        with (self.layer.parent / "boot.log").open("ab") as log:
            self._outer = subprocess.Popen(
                ["unshare", *NEW, str(BOOT), str(self.layer)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._has_systemd)
        wait_until(lambda: self.run("systemctl", "is-system-running").stdout.strip() in _UP)
        self.check("ip", "link", "set", "lo", "up")

    def cut_power(self) -> None:
        """End all processes at once."""
        if self._outer is not None:
            self._outer.kill()  # its child, PID 1 of the machine, ends with it
            self._outer.wait(COMMAND_S)
        self._outer, self._pid = None, 0

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command on the machine."""
        return subprocess.run(
            self.inside(command),
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S,
            cwd="/",
        )

    def check(self, *command: str) -> str:
        """Run a command on the machine that must succeed; give what it printed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def inside(self, command: Sequence[str]) -> list[str]:
        """Put before a command what runs it on the machine."""
        enter = [
            "nsenter",
            "-t",
            str(self._pid),
            "-m",
            "-p",
            "-u",
            "-i",
            "-n",
            "-C",
            "-r",
            "-w",
        ]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return [*enter, "env", "-i", path, *command]

    def shows(self, unit: str, *properties: str) -> dict[str, str]:
        """Read properties of a unit."""
        text = self.check("systemctl", "show", unit, f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in text.splitlines())

    def wait_for(self, unit: str, **wanted: str) -> None:
        """Wait until properties of a unit have these values."""
        until_s = time.monotonic() + COMMAND_S
        while (now := self.shows(unit, *wanted)) != wanted:
            assert time.monotonic() < until_s, f"{now}\n{self.journal(unit)}"
            time.sleep(0.1)

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "-u", unit, "-n", "60").stdout

    def _has_systemd(self) -> bool:
        assert self._outer is not None
        assert self._outer.poll() is None, (self.layer.parent / "boot.log").read_text()
        for child in psutil.Process(self._outer.pid).children():
            if child.name() == "systemd":
                self._pid = child.pid
        return self._pid != 0


_UP = {"running", "degraded"}
