"""The coordinator on a real broker, with devices that speak the protocol (rules W1 to W8)."""

import json
from collections.abc import Callable

import pytest

from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Reported
from secateur_protocols.topics import Leaf, coordinator_status, model_topic
from secateur_server.core.fleet import DeviceState
from support.coordinators import RunningCoordinator
from support.scripted_device import ScriptedDevice, retained_topics, wait_until
from support.situations import make_info, make_measured, make_telemetry

pytestmark = pytest.mark.broker

MakeDevice = Callable[[str, Info], ScriptedDevice]


def known(coordinator: RunningCoordinator, device: str) -> DeviceState | None:
    assert coordinator.driver is not None
    return coordinator.driver.devices.get(device)


@pytest.mark.usefixtures("coordinator")
def test_a_new_device_is_told_the_narrowest_level_and_climbs_with_good_measurements(
    make_device: MakeDevice, ladder: Ladder
) -> None:
    device = make_device("d-1", make_info(deadline_ms=20.0))
    device.birth()
    first = device.next_desired()
    assert first.models[0].level == 3
    device.say(
        Leaf.TELEMETRY,
        make_telemetry(make_measured(ladder, 3, [2.0] * 4, deadline_ms=20.0)),
    )
    second = device.next_desired()
    assert second.revision > first.revision
    assert second.models[0].level < 3
    assert "predicted" in second.models[0].reason


def test_w1_the_coordinator_writes_only_its_own_topics_and_desired(
    coordinator: RunningCoordinator, make_device: MakeDevice
) -> None:
    device = make_device("d-1", make_info())
    device.say(Leaf.INFO, make_info())
    device.next_desired()
    kept = retained_topics(coordinator.broker_url, "secateur/v1/default/#")
    assert set(kept) == {
        "secateur/v1/default/d-1/info",  # the device's own
        "secateur/v1/default/d-1/desired",
        coordinator_status("default"),
        model_topic("default", "digits"),
    }


def test_w3_a_late_last_will_of_an_older_session_does_not_make_a_device_offline(
    coordinator: RunningCoordinator, make_device: MakeDevice
) -> None:
    device = make_device("d-1", make_info())
    device.birth(session=2)
    device.next_desired()
    device.say(Leaf.PRESENCE, Presence(state=PresenceState.OFFLINE, boot=1, session=1))
    device.say(Leaf.REPORTED, Reported(boot=1, sequence=0, revision=1, models=()))

    def heard_both() -> DeviceState | None:
        state = known(coordinator, "d-1")
        return state if state is not None and state.reported is not None else None

    state = wait_until(heard_both)
    assert state.presence is not None
    assert state.presence.state is PresenceState.ONLINE


def test_w4_a_revision_is_never_used_twice_also_after_the_database_is_lost(
    coordinator: RunningCoordinator, make_device: MakeDevice
) -> None:
    device = make_device("d-1", make_info())
    device.say(Leaf.REPORTED, Reported(boot=1, sequence=0, revision=41, models=()))
    wait_until(lambda: known(coordinator, "d-1"))
    device.birth()
    assert device.next_desired().revision > 41


@pytest.mark.usefixtures("coordinator")
def test_w4_old_telemetry_changes_nothing(make_device: MakeDevice, ladder: Ladder) -> None:
    device = make_device("d-1", make_info(boot=2, deadline_ms=20.0))
    device.birth()
    device.next_desired()
    good = make_measured(ladder, 3, [2.0] * 4, deadline_ms=20.0)
    device.say(Leaf.TELEMETRY, make_telemetry(good, boot=2, sequence=7))
    device.next_desired()
    bad = make_measured(ladder, 0, [90.0] * 4, deadline_ms=20.0)
    device.say(Leaf.TELEMETRY, make_telemetry(bad, boot=2, sequence=6))
    device.say(Leaf.TELEMETRY, make_telemetry(bad, boot=1, sequence=9))
    assert device.hears_nothing()


@pytest.mark.usefixtures("coordinator")
def test_w7_fields_of_a_newer_agent_are_ignored(make_device: MakeDevice) -> None:
    device = make_device("d-1", make_info())
    document = json.loads(make_info().model_dump_json())
    document |= {"quantum": True}
    document["hardware"] |= {"tricorder": {"model": 7}}
    device.say_bytes(Leaf.INFO, json.dumps(document).encode())
    assert device.next_desired().models[0].model == "digits"


@pytest.mark.usefixtures("coordinator")
def test_w8_a_device_heard_of_without_its_birth_is_asked_for_it(
    make_device: MakeDevice, ladder: Ladder
) -> None:
    device = make_device("d-1", make_info())
    measured = make_measured(ladder, 3, [2.0])
    device.say(Leaf.TELEMETRY, make_telemetry(measured))
    wait_until(device.rebirths.qsize)
    device.birth()
    assert device.next_desired().models[0].model == "digits"


def test_w8_a_restarted_coordinator_says_everything_and_asks_for_everything(
    coordinator: RunningCoordinator, make_device: MakeDevice
) -> None:
    device = make_device("d-1", make_info())
    device.birth()
    told = device.next_desired()
    coordinator.stop()
    coordinator.start()
    assert device.next_desired() == told
    wait_until(device.rebirths.qsize)


@pytest.mark.parametrize(
    "payload", [b"{", b"[]", b'{"boot": -1}', b"\xff\x00", b"x" * 70_000, b"[" * 60_000]
)
@pytest.mark.usefixtures("coordinator")
def test_what_is_no_message_is_dropped_and_the_next_one_is_heard(
    make_device: MakeDevice, payload: bytes
) -> None:
    device = make_device("d-1", make_info())
    for leaf in (Leaf.PRESENCE, Leaf.TELEMETRY, Leaf.REPORTED):
        device.say_bytes(leaf, payload)
    device.say(Leaf.INFO, make_info())
    assert device.next_desired().models[0].model == "digits"


def test_a_coordinator_says_when_it_is_there_and_when_it_was_stopped(
    coordinator: RunningCoordinator,
) -> None:
    def status() -> object:
        topic = coordinator_status("default")
        return retained_topics(coordinator.broker_url, topic)[topic]["state"]

    assert status() == "online"
    coordinator.stop()
    assert status() == "stopped"
