"""Rollouts that succeed, with several coordinators too; devices prove what they run."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from secateur_protocols.control import (
    PolicyChange,
    SetPolicy,
    ShowRollouts,
    StartRollout,
    Steering,
    SteerRollout,
)
from secateur_protocols.info import Info
from secateur_protocols.rollout import RolloutGates, RolloutPlan
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from secateur_server.adapters.operator import OperatorClient
from secateur_server.registry.registry import Registry
from support.coordinators import RunningCoordinator
from support.postgres import PostgresServer
from support.provable import ProvableDevice, write_provable_ladder
from support.scripted_device import ScriptedDevice, wait_until
from support.situations import make_info

pytestmark = [pytest.mark.broker, pytest.mark.slow]

MakeDevice = Callable[[str, Info], ScriptedDevice]

PLAN = RolloutPlan(
    waves=("1", "100%"), soak_s=2.0, baseline_s=30.0, deadline_s=120.0, approve_each_wave=True
)


class Fleet:
    """Some devices that live while a test waits."""

    def __init__(self, make_device: MakeDevice, folder: Path, registry: Registry) -> None:
        self._make_device = make_device
        self.ladders = {}
        for version in ("1", "2"):
            path = folder / f"provable-{version}"
            self.ladders[version] = write_provable_ladder(path, version)
            registry.publish(path)
        self.devices: list[ProvableDevice] = []

    def join(self, *names: str) -> None:
        for name in names:
            scripted = self._make_device(name, make_info(hardware_class=f"class-{name}"))
            device = ProvableDevice(scripted, self.ladders)
            device.birth()
            self.devices.append(device)

    def wait_until(self, look: Callable[[], bool]) -> None:
        def live_and_look() -> bool:
            for device in self.devices:
                device.live()
            time.sleep(0.1)
            return look()

        wait_until(live_and_look, timeout_s=120.0)

    def versions(self) -> list[str]:
        return [device.version for device in self.devices]


@pytest.fixture
def alone(mosquitto: EmbeddedBroker, tmp_path: Path) -> Iterator[RunningCoordinator]:
    running = RunningCoordinator(mosquitto.url, tmp_path / "alone")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def operator(mosquitto: EmbeddedBroker) -> Iterator[OperatorClient]:
    client = OperatorClient(mosquitto.url, "default")
    yield client
    client.close()


def state_of(operator: OperatorClient, rollout: str) -> str:
    shown: Any = operator.request(ShowRollouts(rollout=rollout), timeout_s=60.0).result
    state: str = shown["rollouts"][0]["state"]
    return state


def roll_out(operator: OperatorClient, fleet: Fleet, plan: RolloutPlan = PLAN) -> str:
    """Begin, approve the second wave when the first has done well, and wait for the end."""
    fleet.wait_until(lambda: set(fleet.versions()) == {"1"})
    begun: Any = operator.request(StartRollout(model="digits", plan=plan)).result
    name: str = begun["rollout"]
    fleet.wait_until(lambda: state_of(operator, name) == "awaiting")
    assert fleet.versions().count("2") == 1
    operator.request(SteerRollout(rollout=name, order=Steering.APPROVE, wave=0))
    fleet.wait_until(lambda: state_of(operator, name) == "succeeded")
    return name


def test_approved_it_succeeds_and_a_device_that_joins_later_gets_the_version_at_once(
    alone: RunningCoordinator, make_device: MakeDevice, operator: OperatorClient, tmp_path: Path
) -> None:
    fleet = Fleet(make_device, tmp_path, alone.registry)
    fleet.join("d-1", "d-2", "d-3")
    roll_out(operator, fleet)
    fleet.wait_until(lambda: set(fleet.versions()) == {"2"})
    assert alone.registry.stable()["digits"].ladder.version == "2"
    alone.stop()
    alone.start()
    fleet.join("d-4")
    fleet.wait_until(lambda: fleet.versions()[-1] != "")
    assert fleet.devices[-1].versions == ["2"]


def test_a_device_on_which_it_was_bad_keeps_the_old_version_after_a_restart_too(
    alone: RunningCoordinator, make_device: MakeDevice, operator: OperatorClient, tmp_path: Path
) -> None:
    fleet = Fleet(make_device, tmp_path, alone.registry)
    fleet.join("d-1", "d-2", "d-3")
    fleet.wait_until(lambda: set(fleet.versions()) == {"1"})
    plan = PLAN.model_copy(update={"gates": RolloutGates(max_bad_ratio=0.5)})

    def spoil_one() -> None:
        canary = next(each for each in fleet.devices if each.version == "2")
        bad = next(each for each in fleet.devices if each is not canary)
        bad.p95_ms["2"] = 9.0

    begun: Any = operator.request(StartRollout(model="digits", plan=plan)).result
    name = begun["rollout"]
    fleet.wait_until(lambda: state_of(operator, name) == "awaiting")
    spoil_one()
    operator.request(SteerRollout(rollout=name, order=Steering.APPROVE))
    fleet.wait_until(lambda: state_of(operator, name) == "succeeded")
    fleet.wait_until(lambda: sorted(fleet.versions()) == ["1", "2", "2"])
    alone.stop()
    alone.start()
    until = time.monotonic() + 4.0
    fleet.wait_until(lambda: time.monotonic() > until)
    assert sorted(fleet.versions()) == ["1", "2", "2"]


def test_levels_change_while_a_rollout_is_paused(
    alone: RunningCoordinator, make_device: MakeDevice, operator: OperatorClient, tmp_path: Path
) -> None:
    fleet = Fleet(make_device, tmp_path, alone.registry)
    fleet.join("d-1", "d-2")
    fleet.wait_until(lambda: set(fleet.versions()) == {"1"})
    begun: Any = operator.request(StartRollout(model="digits", plan=PLAN)).result
    fleet.wait_until(lambda: "2" in fleet.versions())
    order = SteerRollout(rollout=begun["rollout"], order=Steering.PAUSE)
    operator.request(order)
    versions = fleet.versions()
    operator.request(SetPolicy(change=PolicyChange(pinned_level=1)))
    fleet.wait_until(lambda: levels(fleet.devices) == [1, 1])
    assert fleet.versions() == versions


def levels(devices: Sequence[ProvableDevice]) -> list[int]:
    return [each._desired.models[0].level for each in devices if each._desired is not None]


def test_with_two_coordinators_that_share_telemetry_it_succeeds_as_well(
    mosquitto: EmbeddedBroker,
    postgres: PostgresServer,
    make_device: MakeDevice,
    operator: OperatorClient,
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    database = postgres.make_database()
    processes = [start_replica(name, data, mosquitto.url, database) for name in ("a", "b")]
    try:
        fleet = Fleet(make_device, tmp_path, Registry(data / "registry"))
        fleet.join("d-1", "d-2", "d-3")
        roll_out(operator, fleet)
        fleet.wait_until(lambda: set(fleet.versions()) == {"2"})
    finally:
        for process in processes:
            process.terminate()
            process.wait(60.0)


def start_replica(
    name: str, data: Path, broker_url: str, database: str
) -> "subprocess.Popen[bytes]":
    ready = data.parent / f"{name}.json"
    command = [sys.executable, "-m", "secateur_server", "serve", "--replica", name]
    command += ["--broker", broker_url, "--database", database, "--data", str(data)]
    command += ["--http-port", "0", "--ready-file", str(ready)]
    command += ["--public-url", "http://127.0.0.1:1/blobs"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_until(lambda: ready.exists() or process.poll() is not None, timeout_s=60.0)
    assert process.poll() is None, "serve ended"
    return process
