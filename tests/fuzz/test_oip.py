"""Any head and any body of a request become a value or the documented error."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secateur_agent.oip.errors import RequestError
from secateur_agent.oip.head import parse_head
from secateur_agent.oip.inference import (
    parse_request,
    render_response,
)
from secateur_agent.oip.tensors import DTYPES, datatype_of

MAX_BODY = 10_000

T = TypeVar("T")

FIELDS = st.sampled_from(
    [
        b"Content-Length",
        b"Inference-Header-Content-Length",
        b"Transfer-Encoding",
        b"Content-Encoding",
        b"Connection",
        b"Expect",
        b"Host",
    ]
)
VALUES = st.sampled_from([b"0", b"7", b"-1", b"99999999999999999999", b"close", b"chunked"])
anything = st.binary(max_size=60)
header_lines = st.tuples(FIELDS | anything, VALUES | anything).map(b": ".join)
request_lines = st.one_of(
    anything,
    st.tuples(
        st.sampled_from([b"GET", b"POST", b"get", b""]),
        st.sampled_from([b"/", b"/v2", b"/v2/models/m/infer", b"/%00/%ff/../x?y=1"]) | anything,
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b""]),
    ).map(b" ".join),
)
heads = st.tuples(request_lines, st.lists(header_lines, max_size=6)).map(
    lambda parts: b"\r\n".join([parts[0], *parts[1]])
)


def value_or_error(call: Callable[[], T]) -> T | RequestError:
    try:
        return call()
    except RequestError as error:
        return error


@settings(deadline=None)
@given(raw=anything | heads)
@example(raw=b"GET /v2 HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 2")
@example(raw=b"GET /v2 HTTP/1.1\r\n folded: yes")
@example(raw="GET /v2 HTTP/1.1\r\nContent-Length: ٣".encode())
def test_any_head(raw: bytes) -> None:
    head = value_or_error(lambda: parse_head(raw, MAX_BODY))
    if isinstance(head, RequestError):
        assert head.closes
        assert 400 <= head.status < 600
        return
    assert 0 <= head.body_bytes <= MAX_BODY
    assert head.json_bytes is None or 0 <= head.json_bytes <= head.body_bytes
    assert head.method.isascii()


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
nasty_json: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
datatypes = st.sampled_from([*DTYPES, "BYTES", "fp32"])
shapes = st.lists(st.integers(-1, 4), max_size=4)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=4) | nasty_json,
        "datatype": datatypes | nasty_json,
        "shape": shapes | nasty_json,
        "data": st.lists(st.integers(-300, 300) | st.floats() | st.booleans()) | nasty_json,
        "parameters": st.fixed_dictionaries(
            {},
            optional={
                "binary_data_size": st.integers(-1, 40) | nasty_json,
                "binary_data": st.booleans() | nasty_json,
                "classification": nasty_json,
            },
        )
        | nasty_json,
    },
)
documents = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=3) | nasty_json},
    optional={
        "id": st.text() | nasty_json,
        "outputs": st.lists(tensors, max_size=2) | nasty_json,
        "parameters": st.fixed_dictionaries({"binary_data_output": st.booleans()}) | nasty_json,
    },
)


def assert_a_request_or_the_documented_error(body: bytes, json_bytes: int | None) -> None:
    request = value_or_error(lambda: parse_request(body, json_bytes))
    if isinstance(request, RequestError):
        assert not request.closes
        assert json.loads(json.dumps({"error": str(request)}))
        return
    for tensor in request.inputs.values():
        assert datatype_of(tensor.dtype) in DTYPES


@settings(deadline=None)
@given(body=st.binary(max_size=200), cut=st.none() | st.integers(0, 300))
@example(body=b"[" * 100_000, cut=None)
@example(body=b'{"inputs": ' + b"9" * 10_000 + b"}", cut=None)
@example(body=b'{"inputs": [NaN]}', cut=None)
@example(body=b'\xef\xbb\xbf{"inputs": []}', cut=None)
def test_any_body(body: bytes, cut: int | None) -> None:
    assert_a_request_or_the_documented_error(body, cut)


@settings(deadline=None)
@given(document=documents | nasty_json, rest=st.binary(max_size=40), whole=st.booleans())
@pytest.mark.filterwarnings("error")
def test_any_json_with_any_tensor_bytes(document: Any, rest: bytes, *, whole: bool) -> None:  # noqa: ANN401 - any JSON
    head = json.dumps(document).encode()
    assert_a_request_or_the_documented_error(head + rest, None if whole else len(head))


arrays = st.tuples(st.sampled_from(list(DTYPES)), st.lists(st.integers(0, 3), max_size=3))


@settings(deadline=None)
@given(kinds=st.lists(arrays, min_size=1, max_size=3), data=st.data())
def test_what_is_rendered_is_read_back_bit_by_bit(
    kinds: list[tuple[str, list[int]]], data: st.DataObject
) -> None:
    outputs = []
    for number, (datatype, shape) in enumerate(kinds):
        dtype = DTYPES[datatype]
        size = int(np.prod(shape)) * dtype.itemsize
        raw = data.draw(st.binary(min_size=size, max_size=size))
        tensor = np.frombuffer(raw, dtype).reshape(shape)
        if dtype.kind == "b":
            tensor = np.frombuffer(raw, np.uint8).reshape(shape) % 2 == 1
        is_binary = data.draw(st.booleans()) or (
            dtype.kind == "f" and not bool(np.isfinite(tensor).all())
        )
        outputs.append((str(number), tensor, is_binary))
    body, json_bytes = render_response({"model_name": "m"}, outputs)
    document = json.loads(body[:json_bytes])
    document["inputs"] = document.pop("outputs")
    head = json.dumps(document).encode()
    rest = body[json_bytes:] if json_bytes is not None else b""
    request = parse_request(head + rest, len(head))
    for name, tensor, _ in outputs:
        assert request.inputs[name].tobytes() == tensor.tobytes()
        assert request.inputs[name].shape == tensor.shape
        assert request.inputs[name].dtype == tensor.dtype


def test_a_body_cut_anywhere_is_never_more_than_an_error() -> None:
    tensor = np.arange(6, dtype=np.float32).reshape(2, 3)
    one = {"name": "x", "shape": [2, 3], "datatype": "FP32"}
    head = json.dumps({"inputs": [{**one, "parameters": {"binary_data_size": 24}}]}).encode()
    body = head + tensor.tobytes()
    assert np.array_equal(parse_request(body, len(head)).inputs["x"], tensor)
    for end in range(len(body)):
        with suppress(RequestError):
            parse_request(body[:end], min(end, len(head)))
            pytest.fail("a part is not the whole")
