"""What servers do to updaters: each ends in time, with its reason, and in bounded memory."""

import gzip
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur_agent.errors import PermanentError, TransientError
from secateur_agent.transfer.opening import LONGEST_RETRY_AFTER_S, UnreachableError
from secateur_agent.transfer.port import CanceledError, NotFoundError, Repository, TooLongError
from secateur_agent.transfer.transfers import Transfers
from secateur_agent.transfer.watch import Patience
from secateur_protocols.ota import ReasonCode
from support.hostile_http import HostileServer, Reply, answer, hostile_server

CONTENT = random.Random(9).randbytes(300_000)
SIZE = len(CONTENT)
HALF = SIZE // 2

IMPATIENT = Patience(silence_s=1.0, slow_bytes_per_s=1000.0, slow_s=2.0)


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile_server() as running:
        yield running


def repository(server: HostileServer, patience: Patience = IMPATIENT) -> Repository:
    return Transfers(patience).open(f"{server.url}/blobs")


def bring(server: HostileServer, into: Path) -> None:
    repository(server).bring("blobs/blob", into, size_bytes=SIZE)


def partial(start: int, body: bytes, *, said: int | None = None) -> Reply:
    told = f"bytes {start if said is None else said}-{SIZE - 1}/{SIZE}"
    return answer("206 Partial Content", body, headers={"Content-Range": told})


def test_half_a_file_is_gone_on_with_by_range(server: HostileServer, tmp_path: Path) -> None:
    into = tmp_path / "blob"
    server.replies = [
        answer("200 OK", CONTENT[:HALF], length=SIZE),
        partial(HALF, CONTENT[HALF:]),
    ]
    with pytest.raises(TransientError) as caught:
        bring(server, into)
    assert caught.value.reason is ReasonCode.CONNECTION_LOST
    assert into.read_bytes() == CONTENT[:HALF]
    bring(server, into)
    assert server.ranges() == [None, f"bytes={HALF}-"]
    assert into.read_bytes() == CONTENT


@pytest.mark.parametrize("said", [0, HALF - 1, HALF + 1])
def test_a_wrong_content_range_writes_nothing(
    server: HostileServer, tmp_path: Path, said: int
) -> None:
    into = tmp_path / "blob"
    into.write_bytes(CONTENT[:HALF])
    server.replies = [partial(HALF, CONTENT[HALF:], said=said)]
    with pytest.raises(TransientError) as caught:
        bring(server, into)
    assert caught.value.reason is ReasonCode.CONNECTION_LOST
    assert into.read_bytes() == CONTENT[:HALF]


def test_what_is_not_there_is_asked_for_once(server: HostileServer, tmp_path: Path) -> None:
    server.replies = [answer("404 Not Found")]
    with pytest.raises(NotFoundError) as caught:
        bring(server, tmp_path / "blob")
    assert caught.value.reason is ReasonCode.HTTP_STATUS
    assert len(server.asked) == 1


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "99999999999"}, LONGEST_RETRY_AFTER_S),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT", "Date": DATE}, 30.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:27:00 GMT", "Date": DATE}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_retry_after_is_heeded_within_bounds_and_by_the_servers_clock(
    server: HostileServer, tmp_path: Path, headers: dict[str, str], expected_s: float
) -> None:
    server.replies = [answer("503 Service Unavailable", headers=headers)]
    with pytest.raises(TransientError) as caught:
        bring(server, tmp_path / "blob")
    assert caught.value.reason is ReasonCode.HTTP_STATUS
    assert caught.value.retry_after_s == expected_s


def stall(server: HostileServer, body: bytes | None) -> Reply:
    def reply(connection: socket.socket, _head: str) -> None:
        if body is not None:
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"
            connection.sendall(head.encode() + body)
        server.is_over.wait(60.0)

    return reply


def test_a_server_that_falls_silent_ends_in_a_timeout(
    server: HostileServer, tmp_path: Path
) -> None:
    server.replies = [stall(server, CONTENT[:HALF])]
    with pytest.raises(TransientError) as caught:
        bring(server, tmp_path / "blob")
    assert caught.value.reason is ReasonCode.TIMEOUT
    assert (tmp_path / "blob").read_bytes() == CONTENT[:HALF]


def test_a_server_that_never_answers_counts_as_unreachable(
    server: HostileServer, tmp_path: Path
) -> None:
    server.replies = [stall(server, None)]
    with pytest.raises(UnreachableError) as caught:
        bring(server, tmp_path / "blob")
    assert caught.value.reason is ReasonCode.TIMEOUT


def test_an_endless_trickle_ends_in_a_timeout(server: HostileServer, tmp_path: Path) -> None:
    def trickle(connection: socket.socket, _head: str) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode())
        for position in range(SIZE):
            connection.sendall(CONTENT[position : position + 1])
            time.sleep(0.1)

    server.replies = [trickle]
    with pytest.raises(TransientError, match="too slow") as caught:
        bring(server, tmp_path / "blob")
    assert caught.value.reason is ReasonCode.TIMEOUT


def test_trickling_headers_end_in_a_timeout(server: HostileServer, tmp_path: Path) -> None:
    def trickle(connection: socket.socket, _head: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            connection.sendall(b"x")
            time.sleep(0.1)

    server.replies = [trickle]
    with pytest.raises(UnreachableError) as caught:
        bring(server, tmp_path / "blob")
    assert caught.value.reason is ReasonCode.TIMEOUT


@pytest.mark.parametrize("line", [b"X-Header: 1\r\n", b"x" * 1000])
def test_endless_headers_are_not_read_to_their_end(
    server: HostileServer, tmp_path: Path, line: bytes
) -> None:
    def pour(connection: socket.socket, _head: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(line)

    server.replies = [pour]
    with pytest.raises(UnreachableError) as caught:
        bring(server, tmp_path / "blob")
    assert caught.value.reason is ReasonCode.CONNECTION_LOST


def test_redirects_end(server: HostileServer, tmp_path: Path) -> None:
    server.replies = [answer("302 Found", headers={"Location": f"{server.url}/blobs/again"})]
    with pytest.raises(PermanentError) as caught:
        bring(server, tmp_path / "blob")
    assert caught.value.reason is ReasonCode.HTTP_STATUS
    assert len(server.asked) <= 7


def test_a_redirect_is_followed_with_its_range(server: HostileServer, tmp_path: Path) -> None:
    into = tmp_path / "blob"
    into.write_bytes(CONTENT[:HALF])
    server.replies = [
        answer("307 Temporary Redirect", headers={"Location": f"{server.url}/elsewhere"}),
        partial(HALF, CONTENT[HALF:]),
    ]
    bring(server, into)
    assert into.read_bytes() == CONTENT
    assert server.ranges() == [f"bytes={HALF}-"] * 2


@pytest.mark.parametrize("elsewhere", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_to_anything_but_http_is_refused(
    server: HostileServer, tmp_path: Path, elsewhere: str
) -> None:
    server.replies = [answer("302 Found", headers={"Location": elsewhere})]
    with pytest.raises(PermanentError) as caught:
        bring(server, tmp_path / "blob")
    assert caught.value.reason is ReasonCode.HTTP_STATUS
    assert not (tmp_path / "blob").exists()


def endless(head: bytes) -> Reply:
    def reply(connection: socket.socket, _head: str) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(bytes(1 << 16))

    return reply


def test_the_endless_body_of_a_redirect_is_not_read(
    server: HostileServer, tmp_path: Path
) -> None:
    location = f"{server.url}/elsewhere"
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode()
    server.replies = [
        endless(head),
        answer("200 OK", CONTENT),
    ]
    bring(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == CONTENT


BOMB = gzip.compress(bytes(50_000_000))


def packed(body: bytes) -> Reply:
    return answer("200 OK", body, headers={"Content-Encoding": "gzip"})


def test_a_gzip_bomb_is_unpacked_no_further_than_announced(
    server: HostileServer, tmp_path: Path
) -> None:
    server.replies = [packed(BOMB)]
    bring(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == bytes(SIZE)


def test_a_gzip_bomb_that_nobody_asked_for_is_not_unpacked(
    server: HostileServer, tmp_path: Path
) -> None:
    into = tmp_path / "blob"
    into.write_bytes(CONTENT[:HALF])
    server.replies = [packed(BOMB)]
    with pytest.raises(PermanentError) as caught:
        bring(server, into)
    assert caught.value.reason is ReasonCode.HTTP_STATUS
    assert into.read_bytes() == CONTENT[:HALF]
    with pytest.raises(PermanentError):
        repository(server).read("metadata/timestamp.json", max_bytes=16_384)


@pytest.mark.parametrize(
    "body",
    [b"no gzip at all", gzip.compress(CONTENT)[:10] + bytes(100), b"\x00" * (2 * SIZE)],
    ids=["no gzip", "damaged", "longer than the file"],
)
def test_what_cannot_be_unpacked_is_asked_for_as_it_is(
    server: HostileServer, tmp_path: Path, body: bytes
) -> None:
    server.replies = [packed(body), answer("200 OK", CONTENT)]
    bring(server, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == CONTENT
    assert ["gzip" in head for head in server.asked] == [True, False]


def test_half_a_packed_file_is_gone_on_with_by_range_as_it_is(
    server: HostileServer, tmp_path: Path
) -> None:
    into = tmp_path / "blob"
    whole = gzip.compress(CONTENT)
    server.replies = [
        answer(
            "200 OK",
            whole[: len(whole) // 2],
            length=len(whole),
            headers={"Content-Encoding": "gzip"},
        ),
    ]
    with pytest.raises(TransientError):
        bring(server, into)
    held = into.stat().st_size
    assert 0 < held < SIZE
    server.replies = [partial(held, CONTENT[held:])]
    bring(server, into)
    assert into.read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={held}-"]


def test_more_bytes_than_announced_are_left_on_the_wire(
    server: HostileServer, tmp_path: Path
) -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    server.replies = [endless(head)]
    bring(server, tmp_path / "blob")
    assert (tmp_path / "blob").stat().st_size == SIZE
    with pytest.raises(TooLongError):
        repository(server).read("metadata/timestamp.json", max_bytes=16_384)


def test_a_cancel_ends_a_wait_within_moments(server: HostileServer, tmp_path: Path) -> None:
    server.replies = [stall(server, CONTENT[:HALF])]
    into = tmp_path / "blob"
    patient = Transfers(Patience(silence_s=600.0))

    def is_canceled() -> bool:
        return into.exists() and into.stat().st_size == HALF

    with pytest.raises(CanceledError):
        patient.open(f"{server.url}/blobs", is_canceled).bring(
            "blobs/blob", into, size_bytes=SIZE
        )
    assert into.read_bytes() == CONTENT[:HALF]
