"""A connection that is read in large pieces gives the same bytes."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.adapters.ahead import READ_BYTES, ReadAhead


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, ReadAhead]]:
    """Connect two ends; the second one does not wait."""
    far, near = socket.socketpair()
    with far, near:
        reader = ReadAhead(near)
        reader.setblocking(False)
        yield far, reader


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.data())
def test_the_same_bytes_come_in_the_same_order_however_they_are_asked_for(
    sent: list[bytes], data: st.DataObject
) -> None:
    far, near = socket.socketpair()
    with far, near:
        reader = ReadAhead(near)
        for each in sent:
            far.sendall(each)
        far.shutdown(socket.SHUT_WR)
        received = b""
        while piece := reader.recv(most := data.draw(st.integers(1, 50))):
            assert len(piece) <= most
            received += piece
        assert received == b"".join(sent)


def test_what_is_here_already_is_pending_and_needs_no_wait(
    ends: tuple[socket.socket, ReadAhead],
) -> None:
    far, reader = ends
    far.sendall(b"abc")
    assert reader.pending() == 0
    assert reader.recv(1) == b"a"
    assert reader.pending() == 2
    assert reader.recv(10) == b"bc"
    assert reader.pending() == 0


def test_where_nothing_has_come_it_says_so(ends: tuple[socket.socket, ReadAhead]) -> None:
    _, reader = ends
    with pytest.raises(BlockingIOError):
        reader.recv(1)


def test_more_than_is_read_at_once_comes_in_pieces(
    ends: tuple[socket.socket, ReadAhead],
) -> None:
    far, reader = ends
    far.settimeout(10.0)
    content = bytes(range(256)) * (READ_BYTES // 256) + b"end"
    received = b""
    sent = 0
    while len(received) < len(content):
        sent += far.send(content[sent : sent + 20_000])
        received += reader.recv(len(content))
    assert received == content
