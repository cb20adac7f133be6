"""Rollouts on a real broker and a real database, with devices that speak the protocol."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from secateur_protocols.codec import MAX_MESSAGE_BYTES
from secateur_protocols.control import ShowRollouts, StartRollout, Steering, SteerRollout
from secateur_protocols.info import Info
from secateur_protocols.rollout import RolloutPlan, RolloutState
from secateur_protocols.state import Desired
from secateur_protocols.topics import rollout_topic
from secateur_server.adapters.operator import OperatorClient
from secateur_server.coordinator.replicas import Alone
from secateur_server.coordinator.rollouts import Rollouts
from secateur_server.errors import ServerError
from support.coordinators import RunningCoordinator
from support.scripted_device import ScriptedDevice, retained_topics, wait_until
from support.situations import make_info, make_ladder, write_ladder_dir

pytestmark = pytest.mark.broker

MakeDevice = Callable[[str, Info], ScriptedDevice]

AT_ONCE = RolloutPlan(waves=("1", "100%"), soak_s=0.0, baseline_s=0.0, deadline_s=600.0)


@pytest.fixture
def operator(coordinator: RunningCoordinator) -> Iterator[OperatorClient]:
    client = OperatorClient(coordinator.broker_url, "default")
    yield client
    client.close()


def publish(coordinator: RunningCoordinator, folder: Path, version: str) -> None:
    ladder = make_ladder(version=version)
    coordinator.registry.publish(write_ladder_dir(folder / f"v{version}", ladder))


def version_of(desired: Desired) -> str:
    return desired.models[0].ladder.version


def next_version(device: ScriptedDevice, version: str) -> Desired:
    while version_of(desired := device.next_desired()) != version:
        pass
    return desired


def start(operator: OperatorClient, version: str | None = None, **more: object) -> str:
    plan = AT_ONCE.model_copy(update=more)
    answer = operator.request(StartRollout(model="digits", version=version, plan=plan)).result
    assert isinstance(answer, dict)
    name = answer["rollout"]
    assert isinstance(name, str)
    return name


def steer(operator: OperatorClient, rollout: str, order: Steering) -> None:
    operator.request(SteerRollout(rollout=rollout, order=order))


def retained_status(coordinator: RunningCoordinator, rollout: str) -> dict[str, object] | None:
    topic = rollout_topic("default", rollout)
    return retained_topics(coordinator.broker_url, topic).get(topic)


def is_in(coordinator: RunningCoordinator, rollout: str, state: str) -> bool:
    status = retained_status(coordinator, rollout)
    return status is not None and status["state"] == state


def test_a_published_version_waits_for_its_rollout_and_the_first_one_does_not(
    coordinator: RunningCoordinator,
    make_device: MakeDevice,
    operator: OperatorClient,
    tmp_path: Path,
) -> None:
    device = make_device("d-1", make_info())
    device.birth()
    assert version_of(device.next_desired()) == "1"
    publish(coordinator, tmp_path, "2")
    assert device.hears_nothing(for_s=2.5)
    name = start(operator)
    told = next_version(device, "2")
    assert told.models[0].level == 3  # where the old version was
    status = retained_status(coordinator, name)
    assert status is not None
    assert status["state"] == "watching"


def test_halted_the_device_gets_the_old_version_again_and_the_topic_says_so(
    coordinator: RunningCoordinator,
    make_device: MakeDevice,
    operator: OperatorClient,
    tmp_path: Path,
) -> None:
    device = make_device("d-1", make_info())
    device.birth()
    publish(coordinator, tmp_path, "2")
    name = start(operator)
    next_version(device, "2")
    order = SteerRollout(rollout=name, order=Steering.HALT, reason="enough")
    answer = operator.request(order).result
    assert isinstance(answer, dict)
    assert (answer["state"], answer["reason"]) == ("halted", "enough")
    next_version(device, "1")
    wait_until(lambda: is_in(coordinator, name, "halted"))
    steer(operator, name, Steering.FORGET)
    wait_until(lambda: retained_status(coordinator, name) is None)
    with pytest.raises(ServerError, match="no rollout"):
        steer(operator, name, Steering.PAUSE)


def test_paused_nobody_changes_and_resumed_the_canary_does(
    coordinator: RunningCoordinator,
    make_device: MakeDevice,
    operator: OperatorClient,
    tmp_path: Path,
) -> None:
    publish(coordinator, tmp_path, "2")
    name = start(operator)
    steer(operator, name, Steering.PAUSE)
    device = make_device("d-1", make_info())
    device.birth()
    assert version_of(device.next_desired()) == "1"
    assert device.hears_nothing(for_s=2.5)
    steer(operator, name, Steering.RESUME)
    next_version(device, "2")


def test_a_newer_rollout_supersedes_and_its_canary_gets_the_newest(
    coordinator: RunningCoordinator,
    make_device: MakeDevice,
    operator: OperatorClient,
    tmp_path: Path,
) -> None:
    device = make_device("d-1", make_info())
    device.birth()
    publish(coordinator, tmp_path, "2")
    publish(coordinator, tmp_path, "3")
    first = start(operator, "2")
    next_version(device, "2")
    start(operator, "3")
    next_version(device, "3")
    wait_until(lambda: is_in(coordinator, first, "superseded"))


def test_w5_the_same_request_after_a_restart_is_the_same_rollout(
    coordinator: RunningCoordinator, operator: OperatorClient, tmp_path: Path
) -> None:
    publish(coordinator, tmp_path, "2")
    request_id = uuid.uuid4().hex
    asked = StartRollout(model="digits")
    for _ in range(2):
        assert coordinator.driver is not None
        coordinator.driver.tick()
        coordinator.driver.start_rollout(asked, request_id)
        coordinator.stop()
        coordinator.start()
    shown = operator.request(ShowRollouts()).result
    assert isinstance(shown, dict)
    assert isinstance(shown["rollouts"], list)
    assert len(shown["rollouts"]) == 1


def test_what_another_replica_changed_meanwhile_does_not_stop_an_operator(
    coordinator: RunningCoordinator, operator: OperatorClient, tmp_path: Path
) -> None:
    publish(coordinator, tmp_path, "2")
    publish(coordinator, tmp_path, "3")
    asked = StartRollout(model="digits", version="2", plan=AT_ONCE)
    with closing(coordinator.open_store()) as store:

        def other() -> Rollouts:
            return Rollouts(store, coordinator.registry, Alone())

        first, _ = other().start(asked, uuid.uuid4().hex, time.time())
        name = start(operator, "3")
        assert other().describe(first.rollout).state is RolloutState.SUPERSEDED
        other().steer(SteerRollout(rollout=name, order=Steering.PAUSE))
        steer(operator, name, Steering.HALT)
        assert other().describe(name).state is RolloutState.HALTED


def test_a_restart_goes_on_with_the_rollout_and_says_where_it_stands(
    coordinator: RunningCoordinator,
    make_device: MakeDevice,
    operator: OperatorClient,
    tmp_path: Path,
) -> None:
    device = make_device("d-1", make_info())
    device.birth()
    publish(coordinator, tmp_path, "2")
    name = start(operator)
    told = next_version(device, "2")
    coordinator.stop()
    coordinator.start()
    assert device.next_desired() == told
    wait_until(lambda: is_in(coordinator, name, "watching"))
    steer(operator, name, Steering.HALT)
    next_version(device, "1")


@pytest.mark.parametrize(
    ("model", "version", "problem"),
    [
        ("digits", "7", "digits 7 is not published"),
        ("digits", "1", "is what devices have"),
        ("kws", None, "no model kws is published"),
    ],
)
def test_what_cannot_be_rolled_out_is_refused_in_one_line(
    operator: OperatorClient, model: str, version: str | None, problem: str
) -> None:
    with pytest.raises(ServerError, match=problem):
        operator.request(StartRollout(model=model, version=version))


def test_a_status_fits_a_message_whatever_the_fleet(
    coordinator: RunningCoordinator,
    make_device: MakeDevice,
    operator: OperatorClient,
    tmp_path: Path,
) -> None:
    publish(coordinator, tmp_path, "2")
    speaker = make_device("d-0", make_info())
    for number in range(300):
        speaker.device = f"d-{number}"
        speaker.birth()
    name = start(operator, waves=("100%",))
    driver = coordinator.driver
    assert driver is not None
    wait_until(lambda: driver.rollouts.describe(name).waves[0].told == 300)
    assert len(driver.rollouts.describe(name).model_dump_json()) < MAX_MESSAGE_BYTES // 10
