"""A real agent in a process of its own, that a test starts, stops and kills."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import psutil

from secateur_protocols.state import Reported
from support.listener import Listener
from support.published import PublishedLadder
from support.waiting import wait_until

EVALUATION = Path(__file__).resolve().parents[2] / "examples/digits/evaluation.npz"
"""Labelled frames of the digit model."""

AGENT_TOML = """\
device = "{device}"
state_dir = {state_dir}

[trust]
{trust}

[broker]
url = "{broker_url}"

[transfer]
spread_s = 0.0
{transfer}

[telemetry]
period_s = {period_s}
budget_mb_month = 100000.0
{more}
[[models]]
name = "digits"
deadline_ms = 5000.0
{model}
[models.source]
kind = "replay"
path = {data}
rate_hz = {rate_hz}
"""

AGENT = [sys.executable, "-m", "secateur_agent", "run"]

STOP_S = 60.0


class AgentProcess:
    """One state folder and configuration; at most one running process. A context manager."""

    def __init__(
        self,
        folder: Path,
        broker_url: str,
        data: Path,
        *,
        rate_hz: float = 50.0,
        period_s: float = 0.2,
        more: str = "",
        model: str = "",
        transfer: str = "",
        device: str = "meter-7",
        trust: str = "accept_unsigned = true",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.state_dir = folder / "state"
        self.log_path = folder / "agent.log"
        self.config_path = folder / "agent.toml"
        self.config_path.write_text(
            AGENT_TOML.format(
                device=device,
                state_dir=json.dumps(str(self.state_dir)),
                broker_url=broker_url,
                data=json.dumps(str(data)),
                rate_hz=rate_hz,
                period_s=period_s,
                more=more,
                model=model,
                transfer=transfer,
                trust=trust,
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def start(self, *prefix: str) -> None:
        """Start it, behind another command if one is given; the log goes on in one file."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, *AGENT, "--config", str(self.config_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def inference(self) -> psutil.Process:
        """Wait until there is an inference process, and give it."""
        found: list[psutil.Process] = []

        def is_there() -> bool:
            found[:] = [each for each in self.children() if _is_inference(each)]
            return len(found) == 1

        wait_until(is_there)
        return found[0]

    def stop(self) -> int:
        """Ask it to end, and give its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_S)
        self._process = None
        return code

    def kill(self) -> None:
        """Kill it as a power cut would, and wait until its children have gone by themselves."""
        assert self._process is not None
        children = self.children() if self.is_running() else []
        self._process.kill()
        self._process.wait(STOP_S)
        self._process = None
        _, alive = psutil.wait_procs(children, timeout=STOP_S)
        assert alive == [], "an orphan outlived the agent"


def begin_at(
    agent: AgentProcess, listener: Listener, published: PublishedLadder, level: int
) -> Reported:
    """Start a fresh agent, let it commit a level, and give what it reported then."""
    agent.start()
    listener.desire(published.desired(1, level))
    return listener.wait_for_level(level)


def _is_inference(process: psutil.Process) -> bool:
    try:
        return "secateur_agent.inference" in process.cmdline()
    except psutil.Error:  # it has just ended
        return False
