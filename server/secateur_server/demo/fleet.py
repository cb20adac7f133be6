"""Starts and ends the demo's processes: one coordinator with its broker, three agents."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from secateur_server.demo.scenario import Scenario
from secateur_server.errors import ServerError

START_S = 40.0
STOP_S = 15.0
KEEPER = "secateur_server.adapters.keeper"

AGENT_TOML = """\
site = "demo"
device = "{device.name}"
state_dir = {state_dir}

[trust]
root = {root}

[broker]
url = "{broker}"

[transfer]
spread_s = 0.0

[telemetry]
period_s = 1.0
budget_mb_month = 10000.0

[[models]]
name = "{model}"
deadline_ms = {device.deadline_ms}

[models.source]
kind = "replay"
path = {data}
rate_hz = {rate_hz}

[simulation]
hardware_class = "{device.hardware_class}"
slowdown = {device.slowdown}
overrides = {overrides}
"""


class Process:
    """One child, kept by a keeper: it ends with us, however we end."""

    def __init__(self, name: str, arguments: list[str], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        with log_path.open("wb") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own programs
                [sys.executable, "-P", "-m", KEEPER, sys.executable, "-P", "-m", *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def check(self) -> None:
        """Make sure that it lives.

        Raises:
            ServerError: It has ended; the message holds its last words.
        """
        code = self._child.poll()
        if code is not None:
            text = self.log_path.read_text(encoding="utf-8", errors="replace").strip()
            words = text.splitlines()[-1] if text else "no output"
            raise ServerError(f"{self.name} ended with exit code {code}: {words}")

    def close(self) -> None:
        """Ask it to end; `wait` for it after all have been asked."""
        if self._child.stdin is not None:
            self._child.stdin.close()

    def wait(self) -> None:
        """Wait until it has ended."""
        try:
            self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


class Fleet:
    """All processes of the demo, in one folder. A context manager: all end on leaving."""

    def __init__(
        self, folder: Path, *, prefer_amqtt: bool, dashboard_port: int | None = None
    ) -> None:
        self._folder = folder
        self._processes: list[Process] = []
        ready_path = folder / "ready.json"
        arguments = ["secateur_server", "serve", "--site", "demo", "--http-port", "0"]
        arguments += ["--broker-port", "0", "--data", str(folder / "server")]
        arguments += ["--ready-file", str(ready_path)]
        arguments += ["--amqtt"] if prefer_amqtt else []
        if dashboard_port is not None:
            arguments += ["--dashboard-port", str(dashboard_port)]
        self._start("coordinator", arguments)
        try:
            addresses = self._wait_for(ready_path)
            self.broker_url: str = addresses["broker"]
            self.dashboard_url: str | None = addresses.get("dashboard")
        except ServerError:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes[1:]:
            process.close()
        for process in self._processes[1:]:
            process.wait()
        self._processes[0].close()
        self._processes[0].wait()

    def start_agents(self, scenario: Scenario, *, model: str, data: Path, root: Path) -> None:
        """Start one agent per device of the scenario; all trust the same root."""
        for device in scenario.devices:
            path = self._folder / f"{device.name}.toml"
            path.write_text(
                AGENT_TOML.format(
                    device=device,
                    broker=self.broker_url,
                    model=model,
                    rate_hz=scenario.rate_hz,
                    root=json.dumps(str(root.resolve())),
                    state_dir=json.dumps(str(self._folder / device.name)),
                    data=json.dumps(str(data.resolve())),
                    overrides=json.dumps(str(self._overrides(device.name))),
                )
            )
            self._start(device.name, ["secateur_agent", "run", "--config", str(path)])

    def press(self, device: str, factor: float | None) -> None:
        """Make a device slower by a factor; ``None`` takes the pressure away."""
        path = self._overrides(device)
        if factor is None:
            path.unlink(missing_ok=True)
        else:
            sibling = path.with_suffix(".tmp")
            sibling.write_text(json.dumps({"slowdown_factor": factor, "cpu_share": 0.97}))
            sibling.replace(path)

    def check(self) -> None:
        """Make sure that every process lives.

        Raises:
            ServerError: One has ended; the message says which, and its last words.
        """
        for process in self._processes:
            process.check()

    def _overrides(self, device: str) -> Path:
        return self._folder / f"{device}.pressure.json"

    def _start(self, name: str, arguments: list[str]) -> None:
        log_path = self._folder / f"{name}.log"
        self._processes.append(Process(name, arguments, log_path))

    def _wait_for(self, path: Path) -> dict[str, str]:
        deadline = time.monotonic() + START_S
        while not path.exists():
            self.check()
            if time.monotonic() > deadline:
                raise ServerError(f"the coordinator was not ready in {START_S:.0f} s")
            time.sleep(0.05)
        addresses: dict[str, str] = json.loads(path.read_text())
        return addresses
