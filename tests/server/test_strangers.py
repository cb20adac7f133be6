"""What is unknown, foreign or absurd is handled, counted and shown."""

from collections.abc import Callable
from typing import Any

import pytest

from secateur_protocols.control import ShowStatus
from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder
from secateur_protocols.topics import Leaf, device_topic
from secateur_server.adapters.operator import OperatorClient
from support.coordinators import RunningCoordinator
from support.scripted_device import ScriptedDevice, wait_until
from support.situations import make_info, make_measured, make_telemetry

pytestmark = pytest.mark.broker

MakeDevice = Callable[[str, Info], ScriptedDevice]


def wait_for_status(
    coordinator: RunningCoordinator, look: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    operator = OperatorClient(coordinator.broker_url, "default")

    def found() -> dict[str, Any] | None:
        status: Any = operator.request(ShowStatus()).result
        return status if look(status) else None

    try:
        return wait_until(found)
    finally:
        operator.close()


def test_a_model_that_nobody_published_is_named(
    coordinator: RunningCoordinator, make_device: MakeDevice
) -> None:
    device = make_device("d-1", make_info(models=("digits", "nobody-knows")))
    device.birth()
    assert [wish.model for wish in device.next_desired().models] == ["digits"]
    status = wait_for_status(coordinator, lambda status: status["unpublished_models"])
    assert status["unpublished_models"] == {"nobody-knows": 1}


@pytest.mark.parametrize(
    "absurd",
    [
        b'"p95_ms": NaN',
        b'"p95_ms": -1.0',
        b'"p95_ms": 1e300',
        b'"level": 99',
        b'"recent_p95_ms": [1.0, Infinity]',
    ],
)
def test_absurd_telemetry_is_counted_against_its_device_and_changes_nothing(
    coordinator: RunningCoordinator, make_device: MakeDevice, ladder: Ladder, absurd: bytes
) -> None:
    device = make_device("d-1", make_info())
    device.birth()
    told = device.next_desired()
    telemetry = make_telemetry(make_measured(ladder, 3, [2.0]))
    document = telemetry.model_dump_json(exclude_none=True).encode()
    name = absurd.partition(b":")[0]
    broken = document.replace(name + b":", absurd + b',"was_' + name[1:] + b":", 1)
    device.say_bytes(Leaf.TELEMETRY, broken)
    status = wait_for_status(coordinator, lambda status: status["messages"]["malformed"])
    assert status["worst"]["malformed"] == {"d-1": 1}
    assert device.hears_nothing(for_s=0.5)
    assert told.models[0].level == 3


def test_two_devices_with_one_name_show_as_late_messages(
    coordinator: RunningCoordinator, make_device: MakeDevice, ladder: Ladder
) -> None:
    """The broker's access list keeps them apart; without one, the older loses and is seen."""
    device = make_device("d-1", make_info(boot=5))
    device.birth()
    device.next_desired()
    measured = make_measured(ladder, 3, [2.0])
    for sequence in range(4):
        device.say(Leaf.TELEMETRY, make_telemetry(measured, boot=5, sequence=sequence))
        device.say(Leaf.TELEMETRY, make_telemetry(measured, boot=2, sequence=90 + sequence))
    status = wait_for_status(coordinator, lambda status: status["messages"]["late"] >= 4)
    assert status["worst"]["late"] == {"d-1": 4}


def test_a_clock_far_in_the_future_orders_nothing(
    coordinator: RunningCoordinator, make_device: MakeDevice, ladder: Ladder
) -> None:
    device = make_device("d-1", make_info(deadline_ms=20.0))
    device.birth()
    device.next_desired()
    measured = make_measured(ladder, 3, [2.0] * 4, deadline_ms=20.0)
    future = make_telemetry(measured).model_copy(update={"sent_at": "9999-01-01T00:00:00Z"})
    device.say(Leaf.TELEMETRY, future)
    assert device.next_desired().models[0].level == 0
    late = make_measured(ladder, 0, [90.0], deadline_ms=20.0)
    device.say(Leaf.TELEMETRY, make_telemetry(late, sequence=1))
    assert device.next_desired().models[0].level == 3
    assert wait_for_status(coordinator, lambda _: True)["messages"]["late"] == 0


def test_topics_of_nobody_are_counted(
    coordinator: RunningCoordinator, make_device: MakeDevice
) -> None:
    device = make_device("d-1", make_info())
    topic = device_topic("default", "Not-A-Name", Leaf.INFO)
    device._broker.publish(topic, b"{}")
    status = wait_for_status(coordinator, lambda status: status["messages"]["unknown_topic"])
    assert status["devices"] == 0


@pytest.mark.slow
def test_a_fleet_that_reconnects_at_once_is_taken_in(
    coordinator: RunningCoordinator, make_device: MakeDevice
) -> None:
    speaker = make_device("speaker", make_info())
    count = 10_000
    info = make_info().model_dump_json(exclude_none=True).encode()
    for number in range(count):
        topic = device_topic("default", f"d-{number}", Leaf.INFO)
        speaker._broker.publish(topic, info, is_retained=True)
    look = lambda status: status["devices"] == count  # noqa: E731 - a sentence
    assert wait_for_status(coordinator, look)["messages"]["malformed"] == 0
