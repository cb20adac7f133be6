"""The Open Inference Protocol, spoken byte by byte with a real inference process."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from secateur_agent.engine import LoadedModel, find_engine
from support.inference import DIGITS, Running, Said, UnixConnection, call, configure

pytestmark = pytest.mark.engine

INFER = "/v2/models/digits/infer"
SAMPLES = np.load(DIGITS.parent / "evaluation.npz")["x"].astype(np.float32)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return find_engine().load(DIGITS.read_bytes())


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("http") / "s"
    with Running(configure(listen=f"unix:{path}", size=200_000)) as running:
        connection = UnixConnection(path)
        assert call(connection, "/v2/health/live").status == 200
        assert call(connection, "/v2/health/ready").status == 503
        assert call(connection, "/v2/models/digits/ready").status == 503
        assert "not ready" in call(connection, "/v2/models/digits").json["error"]
        connection.close()
        running.load()
        yield path


@pytest.fixture
def connection(socket_path: Path) -> Iterator[UnixConnection]:
    connection = UnixConnection(socket_path)
    yield connection
    connection.close()


def json_request(model: LoadedModel, sample: np.ndarray) -> dict[str, object]:
    info = model.inputs[0]
    one = {"name": info.name, "shape": info.shape, "datatype": "FP32"}
    return {"inputs": [{**one, "data": sample.ravel().tolist()}]}


def binary_request(model: LoadedModel, sample: np.ndarray, **more: object) -> tuple[bytes, str]:
    info, raw = model.inputs[0], sample.tobytes()
    one: dict[str, object] = {"name": info.name, "shape": info.shape, "datatype": "FP32"}
    one["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [one], **more}).encode()
    return head + raw, str(len(head))


def post_binary(
    connection: UnixConnection, model: LoadedModel, sample: np.ndarray, **more: object
) -> Said:
    body, length = binary_request(model, sample, **more)
    return call(connection, INFER, body, {"Inference-Header-Content-Length": length})


def test_metadata_names_what_the_model_takes_and_gives(
    connection: UnixConnection, model: LoadedModel
) -> None:
    said = call(connection, "/v2/models/digits").json
    info = model.inputs[0]
    assert said["inputs"] == [
        {"name": info.name, "datatype": "FP32", "shape": list(info.shape)}
    ]
    assert said["versions"] == ["1"]
    assert call(connection, "/v2/models/digits/versions/1").json == said
    assert call(connection, "/v2").json["extensions"] == ["binary_tensor_data"]
    assert call(connection, "/v2/health/ready").status == 200
    assert call(connection, "/v2/models/digits/ready").status == 200
    assert call(connection, "/v2/models/digits/versions/1/ready").status == 200
    assert call(connection, "/v2/models/digits/versions/2/ready").status == 503


def test_json_and_binary_give_what_the_engine_gives(
    connection: UnixConnection, model: LoadedModel
) -> None:
    for sample in SAMPLES[:5]:
        expected = model.infer([model.inputs[0].encode(sample)])[0]
        said = call(connection, INFER, json_request(model, sample))
        assert said.status == 200, said.body
        assert said.json["model_version"] == "1"
        assert said.json["parameters"]["level"] == 0
        output = said.json["outputs"][0]
        assert np.array_equal(np.array(output["data"], np.float32), expected.ravel())
        said = post_binary(
            connection, model, sample, id="7", parameters={"binary_data_output": True}
        )
        assert said.status == 200, said.body
        assert said.json["id"] == "7"
        size = said.json["outputs"][0]["parameters"]["binary_data_size"]
        raw = said.body[-size:]
        assert np.array_equal(np.frombuffer(raw, np.float32), expected.ravel())


def test_each_output_may_be_asked_for_in_its_own_way(
    connection: UnixConnection, model: LoadedModel
) -> None:
    name = model.outputs[0].name
    wanted = [{"name": name, "parameters": {"binary_data": True}}]
    said = post_binary(connection, model, SAMPLES[0], outputs=wanted)
    assert "data" not in said.json["outputs"][0]
    said = post_binary(
        connection,
        model,
        SAMPLES[0],
        outputs=[{"name": name, "parameters": {"binary_data": False}}],
        parameters={"binary_data_output": True},
    )
    assert said.headers["Inference-Header-Content-Length"] is None
    assert len(said.json["outputs"][0]["data"]) == 10


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"inputs": []}, "inputs must be a list"),
        ({"name": "other"}, "one input"),
        ({"datatype": "BYTES"}, "datatype must be one of"),
        ({"datatype": "INT8"}, "does not fit"),
        ({"shape": [1]}, "numbers where the shape has 1"),
        ({"shape": [64]}, "shape must be"),
        ({"shape": [True]}, "shape must be a list"),
        ({"data": [[1.0], [2.0, 3.0]]}, "no regular list"),
        ({"data": ["a"] * 64}, "does not fit"),
        ({"data": [1e300] * 64}, "finite"),
        ({"data": None}, "data must be a list"),
        ({"parameters": {"binary_data_size": 256}}, "not what the body holds"),
        ({"parameters": {"shared_memory_region": "r"}}, "not supported"),
    ],
)
def test_a_wrong_input_is_named_and_the_connection_stays(
    connection: UnixConnection, model: LoadedModel, change: dict[str, object], problem: str
) -> None:
    request = json_request(model, SAMPLES[0])
    if "inputs" in change:
        request = change
    else:
        request["inputs"][0] |= change  # type: ignore[index] # a list of objects
    said = call(connection, INFER, request)
    assert said.status == 400
    assert problem in said.json["error"]
    assert call(connection, INFER, json_request(model, SAMPLES[0])).status == 200


def test_not_a_number_never_reaches_the_model(
    connection: UnixConnection, model: LoadedModel
) -> None:
    sample = SAMPLES[0].copy()
    sample.flat[3] = np.nan
    assert "finite" in post_binary(connection, model, sample).json["error"]


def test_what_is_not_there_is_404_and_what_cannot_be_done_405(
    connection: UnixConnection, model: LoadedModel
) -> None:
    for path in (
        "/",
        "/v2/models/other",
        "/v2/models/digits/versions/9",
        "/v2/x",
        "/v2/models",
    ):
        said = call(connection, path)
        assert said.status == 404
        assert said.json["error"]
    body = json_request(model, SAMPLES[0])
    assert call(connection, "/v2/models/other/infer", body).status == 404
    assert call(connection, "/v2/models/digits/versions/9/infer", body).status == 404
    assert call(connection, "/v2/health/live", b"").status == 405


def test_a_body_that_is_too_long_is_refused_before_it_is_read(socket_path: Path) -> None:
    said = raw(socket_path, b"POST /v2 HTTP/1.1\r\nContent-Length: 200001\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"POST /v2 HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", b"415"),
        (b"GET /" + b"x" * 90_000, b"431"),
        (b"GET /v2 HTTP/2.0\r\n\r\n", b"400"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"GET /v2 HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_gets_an_error_and_the_connection_ends(
    socket_path: Path, head: bytes, status: bytes
) -> None:
    said = raw(socket_path, head)
    assert said.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in said


def test_a_client_that_waits_for_leave_to_send_gets_it(
    socket_path: Path, model: LoadedModel
) -> None:
    body = json.dumps(json_request(model, SAMPLES[0])).encode()
    head = f"POST {INFER} HTTP/1.1\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(socket_path))
        client.sendall(head.encode() + b"Connection: close\r\n\r\n")
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_requests_sent_ahead_are_answered_in_order(
    socket_path: Path, model: LoadedModel
) -> None:
    requests = b""
    for number in range(3):
        body = json.dumps({**json_request(model, SAMPLES[0]), "id": str(number)}).encode()
        ends = b"Connection: close\r\n" if number == 2 else b""
        requests += b"POST %b HTTP/1.1\r\nContent-Length: %d\r\n%b\r\n%b" % (
            INFER.encode(),
            len(body),
            ends,
            body,
        )
    said = raw(socket_path, requests)
    assert [said.count(b'"id":"%d"' % number) for number in range(3)] == [1, 1, 1]


def test_more_connections_than_allowed_are_turned_away_and_room_comes_back(
    socket_path: Path,
) -> None:
    opened = [wait_for_room(socket_path) for _ in range(8)]
    assert raw(socket_path, b"").startswith(b"HTTP/1.1 503 ")
    for each in opened:
        each.close()
    wait_for_room(socket_path).close()


def wait_for_room(path: Path) -> UnixConnection:
    """Connect; the connections of earlier tests may just be ending."""
    for _ in range(600):
        connection = UnixConnection(path)
        try:
            if call(connection, "/v2/health/live").status == 200:
                return connection
        except (http.client.HTTPException, OSError):
            pass
        connection.close()
        threading.Event().wait(0.1)
    pytest.fail("no room for another connection")


def raw(path: Path, content: bytes) -> bytes:
    """Send bytes and read until the other side ends the connection."""
    said = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(content)
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(65_536):
                said += chunk
    return said
