"""Any bytes become a message or the documented error, and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from secateur_protocols.codec import MAX_MESSAGE_BYTES, decode, encode
from secateur_protocols.control import ControlRequest, ControlResponse
from secateur_protocols.errors import MalformedMessageError, OversizedMessageError
from secateur_protocols.info import Info
from secateur_protocols.manifest import Ladder
from secateur_protocols.message import Message
from secateur_protocols.presence import Presence
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Telemetry
from support.message_strategies import messages

KINDS: tuple[type[Message], ...] = (
    ControlRequest,
    ControlResponse,
    Desired,
    Info,
    Ladder,
    Presence,
    Reported,
    Telemetry,
)
RESPONSE = b'{"request_id": "r", "ok": true, "result": %b}'

nasty_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
"""What json.dumps writes of it may hold NaN, Infinity and escaped lone surrogates."""


def assert_a_value_or_the_documented_error(kind: type[Message], payload: bytes) -> None:
    try:
        message = decode(kind, payload)
    except (MalformedMessageError, OversizedMessageError) as error:
        problem = str(error)
    else:
        assert decode(kind, encode(message)) == message
        return
    assert problem.isprintable()
    assert len(problem) < 500


def replace_one_value(document: Any, data: st.DataObject) -> None:  # noqa: ANN401 - any JSON
    holder = document
    while True:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = data.draw(st.sampled_from(keys))
        inner = holder[key]
        if not (isinstance(inner, dict | list) and inner) or data.draw(st.booleans()):
            holder[key] = data.draw(nasty_json)
            return
        holder = inner


@settings(deadline=None)
@given(kind=st.sampled_from(KINDS), payload=st.binary(max_size=300))
@example(kind=Presence, payload=b"")
@example(kind=Presence, payload=b"null")
@example(kind=Presence, payload=b"\xff\xfe{}")
@example(kind=Presence, payload=b"\xef\xbb\xbf{}")
@example(kind=Presence, payload=b"{" * MAX_MESSAGE_BYTES)
@example(kind=Presence, payload=b"{" * (MAX_MESSAGE_BYTES + 1))
@example(kind=ControlResponse, payload=RESPONSE % (b"[" * 30_000 + b"]" * 30_000))
@example(kind=ControlResponse, payload=RESPONSE % (b'{"a":' * 180 + b"1" + b"}" * 180))
@example(kind=ControlResponse, payload=RESPONSE % (b"9" * 60_000))
@example(kind=ControlResponse, payload=RESPONSE % (b"0." + b"9" * 60_000))
@example(kind=ControlResponse, payload=RESPONSE % b"-1e-999999")
@example(kind=ControlResponse, payload=RESPONSE % rb'"\ud800"')
@example(kind=ControlResponse, payload=RESPONSE % b'"\xed\xa0\x80"')
@example(kind=ControlResponse, payload=RESPONSE % rb'{"\u0000": "\u0000"}')
def test_any_bytes(kind: type[Message], payload: bytes) -> None:
    assert_a_value_or_the_documented_error(kind, payload)


@settings(deadline=None)
@given(kind=st.sampled_from(KINDS), document=nasty_json)
def test_any_json(kind: type[Message], document: Any) -> None:  # noqa: ANN401 - any JSON
    assert_a_value_or_the_documented_error(kind, json.dumps(document).encode())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_a_valid_message_with_one_value_replaced(
    kind: type[Message], data: st.DataObject
) -> None:
    document = json.loads(encode(data.draw(messages(kind))))
    replace_one_value(document, data)
    assert_a_value_or_the_documented_error(kind, json.dumps(document).encode())


@settings(deadline=None)
@given(data=st.data())
def test_a_valid_message_with_bytes_cut_and_flipped(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    payload = bytearray(encode(data.draw(messages(kind))))
    del payload[data.draw(st.integers(0, len(payload))) :]
    flips = st.tuples(st.integers(0, max(len(payload) - 1, 0)), st.integers(1, 255))
    for index, bits in data.draw(st.lists(flips, max_size=3)) if payload else ():
        payload[index] ^= bits
    assert_a_value_or_the_documented_error(kind, bytes(payload))
