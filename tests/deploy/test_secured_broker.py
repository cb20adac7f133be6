"""The broker's configuration and access list, on a real Mosquitto.

Mosquitto grants a subscription and then withholds what it may not deliver, and acknowledges a
message that it drops. So these tests ask what arrives, at a witness who may hear everything and
whose own message comes last.
"""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur_server.adapters.broker import Broker, Subscription
from secateur_server.adapters.embedded_broker import find_mosquitto
from secateur_server.enrolment.authority import FleetAuthority
from secateur_server.errors import InputError
from support.secured_broker import PASSWORD, Client, SecuredBroker, now
from support.waiting import wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed"),
]

SITE = "secateur/v1/oslo"
LAST = f"{SITE}/_models/last"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SecuredBroker]:
    with SecuredBroker(tmp_path / "broker") as secured:
        yield secured


@pytest.fixture
def coordinator(broker: SecuredBroker) -> Iterator[Client]:
    with broker.user("_coordinator") as client:
        client.subscribe("secateur/v1/#")
        yield client


def delivered(witness: Client) -> list[str]:
    """Give the topics of all that was delivered to the witness up to now."""
    before = len(witness.heard)
    witness.publish(LAST)
    wait_until(lambda: any(topic == LAST for topic, _ in witness.heard[before:]))
    return [topic for topic, _ in witness.heard if topic != LAST]


def test_a_device_says_all_of_its_own_branch(
    broker: SecuredBroker, coordinator: Client
) -> None:
    leaves = (
        "presence",
        "info",
        "telemetry",
        "reported",
        "ota",
        "ota/progress",
        "ota/blocks/request",
        "event",
        "result/digits",
    )
    with broker.device("meter-7") as device:
        for leaf in leaves:
            device.publish(f"{SITE}/meter-7/{leaf}")
        assert delivered(coordinator) == [f"{SITE}/meter-7/{leaf}" for leaf in leaves]


@pytest.mark.parametrize(
    "topic",
    [
        f"{SITE}/meter-8/telemetry",
        f"{SITE}/meter-8/reported",
        f"{SITE}/meter-7/desired",
        f"{SITE}/meter-7/ota/blocks/data",
        f"{SITE}/meter-8/desired",
        f"{SITE}/_control/request",
        f"{SITE}/_control/response/meter-7",
        f"{SITE}/_coordinator/rebirth",
        f"{SITE}/_coordinator/status",
        f"{SITE}/_models/digits",
        f"{SITE}/_rollouts/r1",
        "elsewhere",
    ],
)
def test_a_device_cannot_say_what_is_not_its_own(
    broker: SecuredBroker, coordinator: Client, topic: str
) -> None:
    coordinator.subscribe("#")
    with broker.device("meter-7") as device:
        device.publish(topic, retain=True)
        device.publish(f"{SITE}/meter-7/event")
        assert delivered(coordinator) == [f"{SITE}/meter-7/event"]


def test_a_device_hears_what_it_is_told_and_nothing_of_others(
    broker: SecuredBroker, coordinator: Client
) -> None:
    with broker.device("meter-7") as device, broker.device("meter-8") as other:
        device.subscribe(
            "#",
            f"{SITE}/#",
            f"{SITE}/meter-8/#",
            f"{SITE}/meter-8/desired",
            f"{SITE}/_control/#",
            f"{SITE}/_coordinator/rebirth",
            f"{SITE}/meter-7/desired",
            "$share/group/secateur/v1/#",
        )
        other.publish(f"{SITE}/meter-8/telemetry")
        coordinator.publish(f"{SITE}/meter-8/desired", retain=True)
        coordinator.publish(f"{SITE}/_control/response/anna")
        coordinator.publish(f"{SITE}/_coordinator/rebirth")
        coordinator.publish(f"{SITE}/meter-7/desired", retain=True)
        wait_until(lambda: any(t == f"{SITE}/meter-7/desired" for t, _ in device.heard))
        assert {topic for topic, _ in device.heard} == {
            f"{SITE}/_coordinator/rebirth",
            f"{SITE}/meter-7/desired",
        }


def test_what_a_device_may_not_hear_is_not_delivered_from_what_is_retained(
    broker: SecuredBroker, coordinator: Client
) -> None:
    coordinator.publish(f"{SITE}/meter-8/desired", retain=True)
    coordinator.publish(f"{SITE}/meter-7/desired", retain=True)
    with broker.device("meter-7") as device:
        device.subscribe(f"{SITE}/meter-8/desired", f"{SITE}/meter-7/desired")
        wait_until(lambda: bool(device.heard))
        assert [topic for topic, _ in device.heard] == [f"{SITE}/meter-7/desired"]


def test_a_device_cannot_take_the_place_of_another(
    broker: SecuredBroker, coordinator: Client
) -> None:
    with (
        broker.device("meter-8") as victim,
        broker.device("meter-7", client_id="meter-8") as thief,
    ):
        thief.publish(f"{SITE}/meter-7/event")
        victim.publish(f"{SITE}/meter-8/event")
        assert victim.lost == 0
        assert sorted(delivered(coordinator)) == [
            f"{SITE}/meter-7/event",
            f"{SITE}/meter-8/event",
        ]


def test_operators_hear_everything_and_write_requests_alone(
    broker: SecuredBroker, coordinator: Client
) -> None:
    with broker.user("_operator") as operator:
        operator.subscribe("secateur/v1/#")
        coordinator.publish(f"{SITE}/meter-7/desired")
        operator.publish(f"{SITE}/meter-7/desired")
        operator.publish(f"{SITE}/meter-7/telemetry")
        operator.publish(f"{SITE}/_coordinator/rebirth")
        operator.publish(f"{SITE}/_control/request")
        expected = [f"{SITE}/meter-7/desired", f"{SITE}/_control/request"]
        assert delivered(coordinator) == expected
        wait_until(lambda: len(operator.heard) >= len(expected))


def test_viewers_hear_everything_and_write_nothing(
    broker: SecuredBroker, coordinator: Client
) -> None:
    with broker.user("_viewer") as viewer:
        viewer.subscribe("secateur/v1/#")
        viewer.publish(f"{SITE}/_control/request")
        viewer.publish(f"{SITE}/meter-7/desired")
        coordinator.publish(f"{SITE}/meter-7/reported")
        assert delivered(coordinator) == [f"{SITE}/meter-7/reported"]
        wait_until(lambda: f"{SITE}/meter-7/reported" in [topic for topic, _ in viewer.heard])


def test_a_revoked_certificate_does_not_connect_and_a_new_one_does(
    broker: SecuredBroker,
) -> None:
    issued = broker.authority.enroll("meter-7", now=now())
    with broker.with_certificate(issued):
        pass
    broker.revoke("meter-7")
    assert not broker.with_certificate(issued).connect()
    with broker.device("meter-7"), broker.device("meter-8"):
        pass


def test_no_one_comes_in_without_what_is_asked_for(
    broker: SecuredBroker, tmp_path: Path
) -> None:
    strangers = FleetAuthority.create(tmp_path / "strangers", now=now())
    expired = broker.authority.enroll("meter-7", now=now() - dt.timedelta(days=40), days=30)
    for client in (
        Client(broker.device_port, broker.context(), client_id="meter-7"),
        broker.with_certificate(strangers.enroll("meter-7", now=now())),
        broker.with_certificate(expired),
        Client(broker.password_port, broker.context(), client_id=""),
        broker.user("_operator", "wrong"),
        broker.user("meter-7"),
    ):
        assert not client.connect()


def test_the_coordinators_client_comes_in_with_files_named_in_its_address(
    broker: SecuredBroker,
) -> None:
    ca = broker.authority.certificate_path
    login = f"_coordinator:{PASSWORD.replace(' ', '%20')}"
    url = f"mqtts://{login}@localhost:{broker.password_port}?ca={ca}"
    client = Broker(url, subscriptions=[Subscription("x")], on_message=lambda _: None)
    client.start()
    client.stop()


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("ca=/missing", "cannot use /missing"),
        ("cert=/missing", "cert= and key= together"),
        ("verify=no", "not verify="),
    ],
)
def test_an_address_that_cannot_be_used_is_told_in_one_line(query: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Broker(f"mqtts://localhost?{query}", subscriptions=[], on_message=lambda _: None)
