"""Real agents and a real coordinator on a real Mosquitto, and a record of who ran what."""

import json
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Self

from secateur_protocols.codec import decode
from secateur_protocols.errors import ProtocolError
from secateur_protocols.rollout import ENDED, RolloutState, RolloutStatus
from secateur_protocols.state import Desired, Reported
from secateur_protocols.topics import ANY, Leaf, device_topic, parse_device_topic, rollout_topic
from secateur_server.adapters.broker import Broker, Received, Subscription
from secateur_server.registry.registry import Registry
from support.agent_process import AgentProcess
from support.scripted_device import wait_until

SLOW_DEVICE = """
[simulation]
hardware_class = "meter"
slowdown = 200.0
"""
"""An inference takes ten milliseconds then: what a busy machine adds to it is less."""

PATIENCE_S = 200.0


class RollingFleet:
    """Three agents, ``secateur serve``, and all that was wanted and reported. Ends with it."""

    def __init__(self, folder: Path, broker_url: str, data: Path) -> None:
        self.broker_url = broker_url
        self.registry = Registry(folder / "data" / "registry")
        self.wanted: dict[str, list[str]] = defaultdict(list)
        self.reported: dict[str, list[str]] = defaultdict(list)
        self.statuses: list[RolloutStatus] = []
        self._folder = folder
        self._starts = 0
        self._serve: subprocess.Popen[bytes] | None = None
        self._ear = Broker(
            broker_url,
            subscriptions=[
                Subscription(device_topic("default", ANY, Leaf.DESIRED)),
                Subscription(device_topic("default", ANY, Leaf.REPORTED)),
                Subscription(rollout_topic("default", ANY)),
            ],
            on_message=self._hear,
        )
        self.agents = {
            name: AgentProcess(
                folder / name, broker_url, data, more=SLOW_DEVICE, device=name, rate_hz=25.0
            )
            for name in ("meter-1", "meter-2", "meter-3")
        }

    def __enter__(self) -> Self:
        self._ear.start()
        try:
            self.serve()
            for name, agent in self.agents.items():
                # One by one: how slow a simulated device is, is measured as its model loads.
                agent.start()
                self._wait_for_version(name, "1")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for agent in self.agents.values():
            agent.__exit__()
        if self._serve is not None:
            self._serve.terminate()
            self._serve.wait(60.0)
        self._ear.stop()

    def serve(self) -> None:
        """Start the coordinator, or start it again."""
        ready = self._folder / f"ready-{self._starts}.json"
        self._starts += 1
        command = [sys.executable, "-m", "secateur_server", "serve"]
        command += ["--broker", self.broker_url, "--data", str(self._folder / "data")]
        command += ["--http-port", "0", "--ready-file", str(ready)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._serve = process
        wait_until(lambda: ready.exists() or process.poll() is not None, timeout_s=60.0)
        assert process.poll() is None, "serve ended"

    def kill_coordinator(self) -> None:
        assert self._serve is not None
        self._serve.send_signal(signal.SIGKILL)
        self._serve.wait(60.0)
        self._serve = None

    def secateur(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """Run an operator's command and give the lines of JSON that it prints."""
        command = [sys.executable, "-m", "secateur_server", *arguments]
        done = subprocess.run(
            [*command, "--broker", self.broker_url, "--json"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def wait_until_all_run(self, version: str) -> None:
        wait_until(
            lambda: all(self.reported[name][-1:] == [version] for name in self.agents),
            timeout_s=PATIENCE_S,
        )

    def _wait_for_version(self, device: str, version: str) -> None:
        wait_until(lambda: version in self.reported[device], timeout_s=PATIENCE_S)

    def wait_for_end(self) -> RolloutStatus:
        return self.wait_for(*ENDED)

    def wait_for(self, *states: RolloutState) -> RolloutStatus:
        wait_until(
            lambda: self.last is not None and self.last.state in states, timeout_s=PATIENCE_S
        )
        assert self.last is not None
        return self.last

    @property
    def last(self) -> RolloutStatus | None:
        return self.statuses[-1] if self.statuses else None

    def _hear(self, received: Received) -> None:
        if not received.payload:
            return
        if "/_rollouts/" in received.topic:
            self.statuses.append(decode(RolloutStatus, received.payload))
            return
        topic = parse_device_topic(received.topic)
        try:
            if topic.leaf is Leaf.DESIRED:
                desired = decode(Desired, received.payload)
                self.wanted[topic.device] += [each.ladder.version for each in desired.models]
            else:
                reported = decode(Reported, received.payload)
                self.reported[topic.device] += [each.version for each in reported.models]
        except ProtocolError:
            return
