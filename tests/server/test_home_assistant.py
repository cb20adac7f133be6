"""Devices in Home Assistant: what is announced, what is said, and what is chosen there."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.codec import encode
from secateur_protocols.manifest import Ladder
from secateur_protocols.message import Message
from secateur_protocols.ota import Ota, OtaProgress, Update, UpdateState
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Desired, DesiredModel, LadderRef, Reported, ReportedModel
from secateur_protocols.telemetry import Resources
from secateur_protocols.topics import Leaf
from secateur_server.adapters.broker import Broker, Received, Subscription
from secateur_server.home_assistant.entities import Topics, announcement
from secateur_server.home_assistant.mirror import Mirror, Publication
from support.coordinators import Served
from support.scripted_device import ScriptedDevice, wait_until
from support.situations import make_info, make_ladder, make_measured, make_telemetry

TOPICS = Topics("default")
LADDER = make_ladder()
DIGEST = "ab" * 32

# Source: Home Assistant's documentation of MQTT device discovery, and of each platform.
OF_DEVICE = {"device", "origin", "availability", "availability_mode", "qos", "components"}
OF_ANY = {"platform", "unique_id", "name", "icon", "entity_category", "device_class"}
READ = {"state_topic", "value_template"}
OF_PLATFORM = {
    "sensor": OF_ANY | READ | {"unit_of_measurement", "state_class"},
    "select": OF_ANY | READ | {"command_topic", "options"},
    "update": OF_ANY | READ,
}
OF_UPDATE = {"installed_version", "latest_version", "in_progress", "update_percentage"}


def wanted(version: str) -> Desired:
    ladder = LadderRef(version=version, digest=DIGEST, size_bytes=1)
    model = DesiredModel(
        model="digits", ladder=ladder, level=1, deadline_ms=10.0, infeasible=False, reason=""
    )
    return Desired(revision=1, artifacts_url="", models=(model,))


def runs(version: str, level: int) -> Reported:
    model = ReportedModel(model="digits", version=version, level=level, digest=DIGEST)
    return Reported(boot=1, sequence=1, revision=1, models=(model,), refusals=())


def moves(state: UpdateState) -> Ota:
    return Ota(boot=1, sequence=1, updates=(Update(model="digits", level=1, state=state),))


def coming(received: int) -> OtaProgress:
    return OtaProgress(
        model="digits",
        digest=DIGEST,
        received_bytes=received,
        total_bytes=200,
        rate_bytes_per_s=1.0,
    )


messages: st.SearchStrategy[Message] = st.one_of(
    st.just(make_info()),
    st.sampled_from(PresenceState).map(lambda s: Presence(state=s, boot=1, session=1)),
    st.sampled_from(["1", "2"]).map(wanted),
    st.builds(runs, st.sampled_from(["1", "2"]), st.integers(0, 3)),
    st.sampled_from(UpdateState).map(moves),
    st.integers(0, 200).map(coming),
    st.floats(0.0, 99.0).map(
        lambda p95_ms: make_telemetry(
            make_measured(LADDER, 0, [p95_ms]), resources=Resources(temperature_c=p95_ms)
        )
    ),
)


def by_topic(publications: list[Publication]) -> dict[str, bytes]:
    return dict(publications)


def test_a_device_is_announced_in_the_documented_form() -> None:
    document: Any = announcement(TOPICS, "meter-7", make_info(), {"digits": 4})
    assert set(document) == OF_DEVICE
    assert document["device"]["identifiers"]
    assert document["origin"]["name"]
    ids = [each["unique_id"] for each in document["components"].values()]
    assert len(set(ids)) == len(ids)
    for component in document["components"].values():
        assert set(component) <= OF_PLATFORM[component["platform"]]
    assert document["components"]["digits-pin"]["options"] == ["automatic", "0", "1", "2", "3"]
    assert {each["platform"] for each in document["components"].values()} == set(OF_PLATFORM)


@given(st.lists(messages, max_size=20))
def test_what_is_kept_is_what_the_last_of_each_message_says_whatever_came_before(
    history: list[Message],
) -> None:
    mirror, kept = Mirror(TOPICS), dict[str, bytes]()
    for message in history:
        news = by_topic(mirror.hear("meter-7", message))
        assert all(kept.get(topic) != payload for topic, payload in news.items())
        kept |= news
    assert by_topic(mirror.say_all()) == kept
    for topic, payload in kept.items():
        if topic.endswith("/update"):
            assert set(json.loads(payload)) <= OF_UPDATE
    gone = by_topic(mirror.forget("meter-7"))
    assert set(gone) == set(kept)
    assert set(gone.values()) <= {b""}


def test_a_new_version_is_an_update_with_progress_and_a_change_of_level_is_none() -> None:
    mirror = Mirror(TOPICS)
    topic = TOPICS.update("meter-7", "digits")

    def said(*history: Message) -> dict[str, Any]:
        for message in history:
            mirror.hear("meter-7", message)
        found: dict[str, Any] = json.loads(by_topic(mirror.say_all())[topic])
        return found

    begun = said(make_info(), runs("1", 0), wanted("1"), moves(UpdateState.DOWNLOADING))
    assert begun["in_progress"] is False
    update = said(wanted("2"), coming(50))
    assert update == {
        "installed_version": "1",
        "latest_version": "2",
        "in_progress": True,
        "update_percentage": 25,
    }
    ended = said(moves(UpdateState.SUCCEEDED), runs("2", 1))
    assert (ended["installed_version"], ended["in_progress"]) == ("2", False)


class Kept:
    """What the broker retains for Home Assistant."""

    def __init__(self, broker_url: str) -> None:
        self.payloads: dict[str, bytes] = {}
        filters = ("homeassistant/#", "secateur-home-assistant/#")
        self.broker = Broker(
            broker_url, subscriptions=list(map(Subscription, filters)), on_message=self._keep
        )
        self.broker.start()

    def _keep(self, received: Received) -> None:
        self.payloads[received.topic] = received.payload

    def read(self, topic: str) -> Any:  # noqa: ANN401 - JSON
        payload = self.payloads.get(topic, b"")
        return json.loads(payload) if payload else None


@pytest.fixture
def kept(served: Served) -> Iterator[Kept]:
    """A bridge in a process of its own, and what it says."""
    watching = Kept(served.broker_url)
    command = [sys.executable, "-m", "secateur_server", "home-assistant"]
    process = subprocess.Popen([*command, "--broker", served.broker_url])
    try:
        yield watching
    finally:
        process.terminate()
        assert process.wait(30.0) == 0
        status = TOPICS.status()
        wait_until(lambda: watching.payloads.get(status) == b"offline")
        watching.broker.stop()


@pytest.mark.broker
def test_a_level_chosen_in_home_assistant_is_held_and_a_forgotten_device_goes(
    served: Served, kept: Kept, ladder: Ladder
) -> None:
    device = ScriptedDevice(served.broker_url, "meter-7", make_info(deadline_ms=20.0))
    device.birth()
    wait_until(lambda: kept.payloads.get(TOPICS.status()) == b"online")
    found = wait_until(lambda: kept.read(TOPICS.discovery("meter-7")))
    wait_until(lambda: "digits-pin" in kept.read(TOPICS.discovery("meter-7"))["components"])
    assert found["device"]["name"] == "meter-7"
    said = TOPICS.model("meter-7", "digits")
    device.say(Leaf.TELEMETRY, make_telemetry(make_measured(ladder, 2, [4.0])))
    wait_until(lambda: (kept.read(said) or {}).get("p95") == 4.0)
    assert kept.read(said)["pin"] == "automatic"
    kept.broker.publish(TOPICS.pin("meter-7", "digits"), b"1")
    wait_until(lambda: device.next_desired().models[0].level == 1)
    wait_until(lambda: kept.read(said)["pin"] == "1")
    kept.broker.publish(TOPICS.pin("meter-7", "digits"), b"automatic")
    wait_until(lambda: kept.read(said)["pin"] == "automatic")
    device.close()
    assert served.run("forget", "meter-7").returncode == 0
    wait_until(lambda: kept.payloads.get(TOPICS.discovery("meter-7")) == b"")
    assert kept.read(said) is None


@pytest.mark.broker
def test_nonsense_on_its_topics_does_not_end_it(served: Served, kept: Kept) -> None:
    wait_until(lambda: kept.payloads.get(TOPICS.status()) == b"online")
    kept.broker.publish(TOPICS.pin("meter-7", "digits"), b"\xff-1")
    kept.broker.publish("secateur/v1/default/meter-7/info", b"{")
    device = ScriptedDevice(served.broker_url, "meter-8", make_info())
    device.birth()
    wait_until(lambda: kept.read(TOPICS.discovery("meter-8")))
    device.close()
    presence = Presence(state=PresenceState.STOPPED, boot=1, session=1)
    kept.broker.publish(
        "secateur/v1/default/meter-8/presence", encode(presence), is_retained=True
    )
    wait_until(lambda: kept.read(TOPICS.device("meter-8"))["presence"] == "offline")
