"""The topic tree builds, parses, and lets no name climb out of its place."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols import topics
from secateur_protocols.errors import MalformedTopicError
from secateur_protocols.ids import NAME_PATTERN
from secateur_protocols.topics import ANY, QOS, RETAINED, DeviceTopic, Leaf

names = st.from_regex(NAME_PATTERN.replace("$", r"\Z"), fullmatch=True)
BLOCKS = {Leaf.BLOCKS_REQUEST, Leaf.BLOCKS_DATA}

leaves = st.sampled_from(Leaf)

OUTSIDE_THE_GRAMMAR = (
    "",
    "a" * 65,
    "meter\n",
    "\nmeter",
    "meter 1",
    "Meter",
    "-meter",
    "meter-",
    "_meter",
    "_coordinator",
    "_models",
    "_control",
    "+",
    "#",
    "$SYS",
    "a/b",
    "a+b",
    "m\u00e9ter",
    "\u0661",  # a digit, and not one of ours
    "a\x00",
)


@given(site=names, device=names, leaf=leaves)
def test_a_topic_that_was_built_parses_to_its_parts(site: str, device: str, leaf: Leaf) -> None:
    topic = topics.device_topic(site, device, leaf)
    assert topics.parse_device_topic(topic) == DeviceTopic(site, device, leaf)


@given(device=names, leaf=leaves)
def test_a_subscription_to_all_devices_is_no_devices_topic(device: str, leaf: Leaf) -> None:
    wildcard = topics.device_topic("site", ANY, leaf)
    with pytest.raises(MalformedTopicError):
        topics.parse_device_topic(wildcard)
    one = topics.device_topic("site", device, leaf)
    assert re.fullmatch(re.escape(wildcard).replace(r"\+", "[^/]+"), one)


@pytest.mark.parametrize("name", OUTSIDE_THE_GRAMMAR)
def test_a_name_outside_the_grammar_is_refused_as_site_and_as_device(name: str) -> None:
    for topic in (
        topics.device_topic(name, "meter", Leaf.INFO),
        topics.device_topic("site", name, Leaf.INFO),
    ):
        with pytest.raises(MalformedTopicError):
            topics.parse_device_topic(topic)


@pytest.mark.parametrize("length", [1, 2, 63, 64])
def test_a_name_has_up_to_64_characters(length: int) -> None:
    name = "a" * length
    topic = topics.device_topic(name, name, Leaf.EVENT)
    assert topics.parse_device_topic(topic).device == name


@pytest.mark.parametrize(
    "topic",
    [
        "secateur/v2/site/meter/info",
        "Secateur/v1/site/meter/info",
        "/secateur/v1/site/meter/info",
        "secateur/v1/site/meter",
        "secateur/v1/site/meter/",
        "secateur/v1/site/meter/info/",
        "secateur/v1/site/meter/info\n",
        "secateur/v1/site/meter/ota/progress/more",
        "secateur/v1/site/meter/unknown",
    ],
)
def test_w7_another_tree_version_or_leaf_is_refused(topic: str) -> None:
    with pytest.raises(MalformedTopicError):
        topics.parse_device_topic(topic)


@given(site=names, name=names)
def test_w1_no_devices_topic_is_one_of_the_coordinators(site: str, name: str) -> None:
    coordinators = (
        topics.coordinator_status(site),
        topics.rebirth(site),
        topics.model_topic(site, name),
        topics.control_request(site),
        topics.control_response(site, name),
    )
    assert len(set(coordinators)) == 5
    for topic in coordinators:
        assert topic.startswith(f"secateur/v1/{site}/_")
        with pytest.raises(MalformedTopicError):
            topics.parse_device_topic(topic)


def test_state_is_retained_with_qos_1_and_streams_are_neither() -> None:
    assert {leaf for leaf in Leaf if QOS[leaf] == 0} == {Leaf.TELEMETRY, Leaf.OTA_PROGRESS}
    assert set(Leaf) - RETAINED == {Leaf.TELEMETRY, Leaf.OTA_PROGRESS, Leaf.EVENT} | BLOCKS
    assert all(QOS[leaf] == 1 for leaf in RETAINED)


def test_an_error_quotes_a_long_topic_in_one_short_line() -> None:
    with pytest.raises(MalformedTopicError) as refused:
        topics.parse_device_topic("\x1b[31m\n" * 10_000)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1_100
