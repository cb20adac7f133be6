"""Several coordinators for one site, on PostgreSQL and a real broker."""

import contextlib
import itertools
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from secateur_protocols.control import ShowStatus, StartRollout, Steering, SteerRollout
from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder
from secateur_protocols.rollout import RolloutPlan
from secateur_protocols.state import Desired
from secateur_protocols.topics import ANY, Leaf, device_topic
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from secateur_server.adapters.operator import OperatorClient
from secateur_server.adapters.shared_subscription import delivers_shared
from secateur_server.adapters.store import Store
from secateur_server.coordinator.replicas import CONTROL
from secateur_server.core.ownership import owner_of
from secateur_server.registry.registry import Registry
from support.postgres import PostgresServer
from support.scripted_device import ScriptedDevice, retained_topics, wait_until
from support.situations import (
    make_info,
    make_ladder,
    make_measured,
    make_telemetry,
    write_ladder_dir,
)

pytestmark = [pytest.mark.broker, pytest.mark.slow]

MakeDevice = Callable[[str, Info], ScriptedDevice]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--replica", "a"], "postgresql"),
        (["--replica", "a", "--database", "sqlite:///x"], "postgresql"),
        (["--replica", "a", "--database", "postgresql://h/n"], "broker"),
    ],
)
def test_replicas_without_what_they_share_are_refused(arguments: list[str], word: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "secateur_server", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert word in done.stderr


def test_shared_subscriptions_are_used_where_they_deliver(any_broker: EmbeddedBroker) -> None:
    """Mosquitto delivers each message to one of the group; amqtt grants it and does not."""
    assert delivers_shared(any_broker.url, "default") == (any_broker.name == "mosquitto")


class Site:
    """Replicas of one site in processes of their own."""

    def __init__(self, folder: Path, broker_url: str, database: str) -> None:
        self._folder, self._broker_url, self._database = folder, broker_url, database
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        ready = self._folder / f"{name}.json"
        command = [sys.executable, "-m", "secateur_server", "serve", "--replica", name]
        command += ["--broker", self._broker_url, "--database", self._database]
        command += ["--data", str(self._folder), "--http-port", "0", "--ready-file", str(ready)]
        command += ["--public-url", "http://127.0.0.1:1/blobs"]
        self.processes[name] = process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda: ready.exists() or process.poll() is not None, timeout_s=60.0)
        assert process.poll() is None, "serve ended"

    def wait_for(self, replicas: list[str]) -> dict[str, Any]:
        """Wait until just these say that they are alive."""
        operator = OperatorClient(self._broker_url, "default")

        def look() -> dict[str, Any] | None:
            status: Any = operator.request(ShowStatus(), timeout_s=60.0).result
            return status if status["replicas"] == replicas else None

        status = wait_until(look, timeout_s=60.0)
        operator.close()
        return status

    def retained_levels(self) -> dict[str, int]:
        topics = device_topic("default", ANY, Leaf.DESIRED)
        kept: dict[str, Any] = retained_topics(self._broker_url, topics)
        return {topic.split("/")[3]: each["models"][0]["level"] for topic, each in kept.items()}

    def stored_levels(self) -> dict[str, int]:
        store = Store(self._database, "default")
        found = {
            name: state.desired.models[0].level
            for name, state in store.load_devices().items()
            if state.desired is not None
        }
        store.close()
        return found

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
            process.wait(60.0)


@pytest.fixture
def site(
    tmp_path: Path, mosquitto: EmbeddedBroker, postgres: PostgresServer, ladder: Ladder
) -> Iterator[Site]:
    """Prepare a site whose replicas share a registry, a database and a broker."""
    Registry(tmp_path / "data" / "registry").publish(write_ladder_dir(tmp_path / "l", ladder))
    running = Site(tmp_path / "data", mosquitto.url, postgres.make_database())
    yield running
    running.stop()


class Witness:
    """Remembers all that a device was told, and that no revision said two things."""

    def __init__(self, device: ScriptedDevice) -> None:
        self.device = device
        self._told: dict[int, Desired] = {}

    def hear(self, *, timeout_s: float = 30.0) -> Desired:
        desired = self.device.next_desired(timeout_s=timeout_s)
        assert self._told.setdefault(desired.revision, desired) == desired
        return self._told[max(self._told)]

    def wait_for(self, level: Callable[[int], bool]) -> int:
        until = time.monotonic() + 60
        while not (self._told and level(self.level)):
            assert time.monotonic() < until
            self.hear()
        return self.level

    @property
    def level(self) -> int:
        return self._told[max(self._told)].models[0].level


def test_killing_a_replica_loses_nothing_and_changes_no_level(
    site: Site, make_device: MakeDevice, ladder: Ladder
) -> None:
    site.start("a")
    site.start("b")
    assert site.wait_for(["a", "b"])["shared_subscription"] is True
    info = make_info(deadline_ms=20.0)
    witnesses = [Witness(make_device(f"d-{number}", info)) for number in range(12)]
    for witness in witnesses:
        witness.device.birth()
        witness.wait_for(lambda level: level == 3)
    say(witnesses, ladder, 3, 2.0, sequence=0)
    for witness in witnesses:
        witness.wait_for(lambda level: level == 0)

    with speaking(witnesses, ladder) as said:
        wait_until(lambda: len(said) > 3)
        site.processes["a"].kill()
        site.processes["a"].wait(30.0)
        site.wait_for(["b"])
        after = len(said)
        wait_until(lambda: len(said) > after + 3)
    for witness in witnesses:
        with contextlib.suppress(queue.Empty):
            while True:
                assert witness.hear(timeout_s=0.05).models[0].level == 0
    level_of_each = dict.fromkeys((each.device.device for each in witnesses), 0)
    assert site.retained_levels() == level_of_each
    assert site.stored_levels() == level_of_each

    say(witnesses, ladder, 0, 100.0, sequence=said[-1] + 1)
    for witness in witnesses:
        witness.wait_for(lambda level: level == 3)
    site.start("a")
    site.wait_for(["a", "b"])
    assert all(witness.level == 3 for witness in witnesses)


@contextlib.contextmanager
def speaking(witnesses: list[Witness], ladder: Ladder) -> Iterator[list[int]]:
    """Let devices that run the widest level say all the time that they do well.

    Gives the sequence numbers that all have said, as they grow.
    """
    is_over, said = threading.Event(), list[int]()

    def speak() -> None:
        for sequence in itertools.count(1):
            say(witnesses, ladder, 0, 8.0, sequence=sequence)
            said.append(sequence)
            if is_over.wait(0.1):
                return

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield said
    finally:
        is_over.set()
        thread.join(30.0)


def say(
    witnesses: list[Witness], ladder: Ladder, level: int, p95_ms: float, *, sequence: int
) -> None:
    measured = make_measured(ladder, level, [p95_ms] * 4, deadline_ms=20.0)
    for witness in witnesses:
        witness.device.say(Leaf.TELEMETRY, make_telemetry(measured, sequence=sequence))


def test_policy_set_at_one_replica_holds_at_all(
    site: Site, make_device: MakeDevice, mosquitto: EmbeddedBroker
) -> None:
    site.start("a")
    site.start("b")
    site.wait_for(["a", "b"])
    devices = [make_device(f"d-{number}", make_info()) for number in range(8)]
    for device in devices:
        device.birth()
    command = ["policy", "set", "--deadline-ms", "3", "--broker", mosquitto.url]
    done = subprocess.run(
        [sys.executable, "-m", "secateur_server", *command], timeout=60, check=False
    )
    assert done.returncode == 0
    for device in devices:
        wait_until(lambda d=device: d.next_desired().models[0].deadline_ms == 3.0)  # type: ignore[misc]


def test_a_rollout_goes_on_when_the_replica_that_acts_for_it_is_killed(
    site: Site, make_device: MakeDevice, mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    site.start("a")
    site.start("b")
    site.wait_for(["a", "b"])
    devices = [make_device(f"d-{number}", make_info()) for number in range(8)]
    for device in devices:
        device.birth()
        device.next_desired()
    ladder = make_ladder(version="2")
    Registry(tmp_path / "data" / "registry").publish(write_ladder_dir(tmp_path / "2", ladder))
    operator = OperatorClient(mosquitto.url, "default")
    plan = RolloutPlan(waves=("1", "100%"), baseline_s=0.0, deadline_s=600.0)
    begun: Any = operator.request(StartRollout(model="digits", plan=plan)).result
    canary = wait_until(lambda: who_is_told(devices, "2"))
    acting = owner_of(CONTROL, ["a", "b"])
    assert acting is not None
    site.processes[acting].kill()
    site.processes[acting].wait(30.0)
    site.wait_for(["b" if acting == "a" else "a"])
    assert who_is_told([each for each in devices if each is not canary], "2") is None
    order = SteerRollout(rollout=begun["rollout"], order=Steering.HALT)
    operator.request(order, timeout_s=60.0)
    operator.close()
    assert wait_until(lambda: who_is_told(devices, "1")) is canary


def who_is_told(devices: list[ScriptedDevice], version: str) -> ScriptedDevice | None:
    """Give the device that hears news of a version; others' news is let go."""
    for device in devices:
        try:
            if device.next_desired(timeout_s=0.05).models[0].ladder.version == version:
                return device
        except queue.Empty:
            continue
    return None
