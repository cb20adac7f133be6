"""Operators' requests, over a real broker (rules W5, W6)."""

import queue
import uuid
from collections.abc import Callable

import pytest

from secateur_protocols.codec import decode, encode
from secateur_protocols.control import (
    AskRebirth,
    ControlRequest,
    ControlResponse,
    Forget,
    ListDevices,
    PolicyChange,
    SetPolicy,
    ShowPolicy,
)
from secateur_protocols.info import Info
from secateur_protocols.topics import control_request, control_response, rebirth
from secateur_server.adapters.broker import Broker, Subscription
from secateur_server.adapters.operator import OperatorClient
from secateur_server.errors import ServerError
from support.coordinators import RunningCoordinator
from support.scripted_device import ScriptedDevice, retained_topics, wait_until
from support.situations import make_info

pytestmark = pytest.mark.broker

MakeDevice = Callable[[str, Info], ScriptedDevice]


def test_w5_the_same_request_twice_is_answered_twice_and_done_once(
    coordinator: RunningCoordinator, make_device: MakeDevice
) -> None:
    device = make_device("d-1", make_info())
    responses: queue.SimpleQueue[ControlResponse] = queue.SimpleQueue()
    client = Broker(
        coordinator.broker_url,
        subscriptions=[Subscription(control_response("default", "op-1"))],
        on_message=lambda received: responses.put(decode(ControlResponse, received.payload)),
    )
    client.start()
    request = ControlRequest(request_id=uuid.uuid4().hex, client="op-1", action=AskRebirth())
    client.publish(control_request("default"), encode(request))
    client.publish(control_request("default"), encode(request))
    first, second = responses.get(timeout=30), responses.get(timeout=30)
    client.stop()
    assert first == second
    assert first.request_id == request.request_id
    # One for the coordinator's start, if it was late, and exactly one for the two requests.
    wait_until(lambda: device.rebirths.qsize() >= 1)
    assert device.hears_nothing(for_s=1.0)
    assert device.rebirths.qsize() <= 2


def test_w5_nothing_about_requests_is_retained(coordinator: RunningCoordinator) -> None:
    client = OperatorClient(coordinator.broker_url, "default")
    client.request(ListDevices())
    client.close()
    assert retained_topics(coordinator.broker_url, "secateur/v1/default/_control/#") == {}


def test_w6_a_forgotten_device_leaves_nothing_on_the_broker(
    coordinator: RunningCoordinator, make_device: MakeDevice
) -> None:
    device = make_device("d-1", make_info())
    device.birth()
    device.next_desired()
    client = OperatorClient(coordinator.broker_url, "default")
    assert len(retained_topics(coordinator.broker_url, "secateur/v1/default/d-1/#")) == 3
    client.request(Forget(device="d-1"))
    wait_until(lambda: not retained_topics(coordinator.broker_url, "secateur/v1/default/d-1/#"))
    with pytest.raises(ServerError, match="no device d-1 is known"):
        client.request(Forget(device="d-1"))
    client.close()
    coordinator.stop()
    coordinator.start()
    assert coordinator.driver is not None
    assert coordinator.driver.devices == {}


def test_devices_are_listed_page_by_page(
    coordinator: RunningCoordinator, make_device: MakeDevice
) -> None:
    names = [f"d-{number}" for number in range(5)]
    for name in names:
        make_device(name, make_info()).birth()
    client = OperatorClient(coordinator.broker_url, "default")

    def listed() -> list[str]:
        found: list[str] = []
        more = True
        while more:
            after = found[-1] if found else ""
            page = client.request(ListDevices(after=after, limit=2)).result
            assert isinstance(page, dict)
            assert isinstance(page["devices"], list)
            assert len(page["devices"]) <= 2
            found += [row["device"] for row in page["devices"] if isinstance(row, dict)]  # type: ignore[misc]
            more = page["more"] is True
        return found

    wait_until(lambda: listed() == names)
    client.close()


def test_a_policy_that_is_set_holds_at_once_and_after_a_restart(
    coordinator: RunningCoordinator, make_device: MakeDevice
) -> None:
    device = make_device("d-1", make_info(deadline_ms=10.0))
    device.birth()
    assert device.next_desired().models[0].deadline_ms == 10.0
    client = OperatorClient(coordinator.broker_url, "default")
    client.request(SetPolicy(device="d-1", change=PolicyChange(deadline_ms=3.0)))
    assert device.next_desired().models[0].deadline_ms == 3.0
    coordinator.stop()
    coordinator.start()
    shown = client.request(ShowPolicy()).result
    assert "3.0" in str(shown)
    client.close()


def test_what_is_no_request_is_dropped_and_the_next_one_is_answered(
    coordinator: RunningCoordinator,
) -> None:
    sender = Broker(coordinator.broker_url, subscriptions=[], on_message=lambda _: None)
    sender.start()
    for junk in (b"", b"{", b'{"action": "explode"}', b"[" * 60_000, b"\xff" * 70_000):
        sender.publish(control_request("default"), junk)
        sender.publish(rebirth("default"), junk)
    sender.stop()
    client = OperatorClient(coordinator.broker_url, "default")
    assert client.request(ListDevices()).ok
    client.close()
