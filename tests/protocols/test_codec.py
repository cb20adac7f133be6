"""What one side writes the other reads, today's and tomorrow's alike."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from secateur_protocols.codec import MAX_MESSAGE_BYTES, decode, decode_document, encode
from secateur_protocols.control import ControlRequest, ControlResponse, Forget
from secateur_protocols.errors import MalformedMessageError, OversizedMessageError
from secateur_protocols.event import DeviceEvent
from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder
from secateur_protocols.message import Message
from secateur_protocols.ota import Ota, OtaProgress
from secateur_protocols.presence import CoordinatorStatus, Presence, PresenceState, Rebirth
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Resources, Telemetry
from support.message_strategies import json_values, messages

KINDS: tuple[type[Message], ...] = (
    ControlRequest,
    ControlResponse,
    CoordinatorStatus,
    Desired,
    DeviceEvent,
    Info,
    Ladder,
    Ota,
    OtaProgress,
    Presence,
    Rebirth,
    Reported,
    Telemetry,
)
PRESENCE = Presence(state=PresenceState.ONLINE, boot=3, session=1)
HARDWARE: dict[str, JsonValue] = {
    "machine": "armv7l",
    "cpu_model": "Cortex-A7",
    "cores": 4,
    "memory_bytes": 2**29,
    "hardware_class": "cortex-a7-4",
}
INFO: dict[str, JsonValue] = {
    "boot": 1,
    "agent_version": "0.1.0",
    "hardware": HARDWARE,
    "engine": {"name": "litert", "version": "2.1", "threads": 1},
    "tasks": [{"model": "digits", "deadline_ms": 5.0}],
    "labels": {"street": "Elm"},
}

kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@kinds
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_message_survives_the_wire(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages(kind))
    assert decode(kind, encode(message)) == message


@kinds
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_w7_fields_of_a_newer_peer_are_ignored(
    kind: type[Message], data: st.DataObject
) -> None:
    message = data.draw(messages(kind))
    newer = json.loads(encode(message)) | {"from_the_future": data.draw(json_values)}
    assert decode(kind, json.dumps(newer).encode()) == message


def test_w7_fields_of_a_newer_peer_are_ignored_inside_too() -> None:
    request = b"""{"request_id": "r", "client": "ops", "priority": 9,
        "action": {"action": "forget", "device": "meter-1", "soon": true}}"""
    assert decode(ControlRequest, request).action == Forget(device="meter-1")


def test_w9_the_longest_message_is_read_and_one_byte_more_is_not_even_parsed() -> None:
    longest = encode(PRESENCE).ljust(MAX_MESSAGE_BYTES)
    assert len(longest) == 65_535
    assert decode(Presence, longest) == PRESENCE
    with pytest.raises(OversizedMessageError, match="65536 bytes, the limit is 65535"):
        decode(Presence, longest + b"\xff")


def test_w9_a_document_of_known_size_may_be_longer_than_a_message() -> None:
    assert decode_document(Presence, encode(PRESENCE).ljust(200_000)) == PRESENCE


def test_w9_a_message_too_long_to_send_is_our_own_mistake() -> None:
    response = ControlResponse(request_id="r", ok=True, result="x" * MAX_MESSAGE_BYTES)
    with pytest.raises(
        ValueError, match=r"ControlResponse of 655\d\d bytes is too long to send"
    ):
        encode(response)


def test_fields_that_are_none_do_not_travel_but_null_in_a_result_does() -> None:
    response = ControlResponse(request_id="r", ok=True, result={"battery": None})
    assert json.loads(encode(response)) == {
        "request_id": "r",
        "ok": True,
        "result": {"battery": None},
    }


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400"])
@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (ControlResponse, '{"request_id": "r", "ok": true, "result": [{"a": [%s]}]}'),
        (Resources, '{"cpu_share": %s}'),
    ],
)
def test_numbers_that_are_no_json_are_refused(
    kind: type[Message], document: str, value: str
) -> None:
    with pytest.raises(MalformedMessageError, match=r"NaN and infinity|finite number"):
        decode(kind, (document % value).encode())


def test_the_example_of_these_tests_is_valid() -> None:
    assert decode(Info, json.dumps(INFO).encode()).labels == {"street": "Elm"}


@pytest.mark.parametrize(
    "boot", ["true", "1.0", '"1"', "-1", "9007199254740993", "9" * 5000, "null"]
)
def test_a_counter_is_a_whole_number_that_every_reader_holds(boot: str) -> None:
    with pytest.raises(MalformedMessageError):
        decode(Presence, f'{{"state": "online", "boot": {boot}, "session": 1}}'.encode())


@pytest.mark.parametrize("key", ["a\nforged\x1b[31m", "long" * 9_000])
def test_an_error_is_one_short_printable_line_whoever_wrote_the_document(key: str) -> None:
    document = INFO | {"labels": {key: 1}}
    with pytest.raises(MalformedMessageError, match=r"Info: labels\.") as refused:
        decode(Info, json.dumps(document).encode())
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("cores", [0, -1, 10**4000])
def test_w12_what_a_device_says_of_itself_is_bounded(cores: int) -> None:
    hardware = HARDWARE | {"cores": cores}
    with pytest.raises(MalformedMessageError, match=r"Info: hardware\.cores"):
        decode(Info, json.dumps(INFO | {"hardware": hardware}).encode())


def test_an_unknown_action_is_quoted_without_its_control_characters() -> None:
    document = rb'{"request_id": "r", "client": "c", "action": {"action": "a\nb\u001b[31m"}}'
    with pytest.raises(MalformedMessageError, match=r"'a\?b\?\[31m'") as refused:
        decode(ControlRequest, document)
    assert str(refused.value).isprintable()
