"""The pipe between the two processes: whole values or an end, and never a wait for ever."""

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur_agent.inference import pipe
from secateur_agent.inference.pipe import Pipe


@pytest.fixture
def ends() -> Iterator[tuple[Pipe, Pipe]]:
    one, other = socket.socketpair()
    with Pipe(one) as ours, Pipe(other) as theirs:
        yield ours, theirs


@settings(deadline=None)
@given(st.lists(st.binary() | st.text() | st.integers(), max_size=8))
def test_what_is_sent_arrives_in_order(values: list[object]) -> None:
    one, other = socket.socketpair()
    with Pipe(one) as ours, Pipe(other) as theirs:
        for value in values:
            ours.send(value)
        assert [theirs.recv() for _ in values] == values
        assert not theirs.poll(0.0)


def test_a_value_of_megabytes_arrives_whole(ends: tuple[Pipe, Pipe]) -> None:
    ours, theirs = ends
    large = bytes(range(256)) * 40_000
    sending = threading.Thread(target=ours.send, args=(large,))
    sending.start()
    assert theirs.recv() == large
    sending.join()


def test_the_end_of_the_other_process_is_an_end(ends: tuple[Pipe, Pipe]) -> None:
    ours, theirs = ends
    with theirs:
        theirs.send("last")
    assert ours.poll(60.0)
    assert ours.recv() == "last"
    assert ours.poll(60.0)
    with pytest.raises(EOFError):
        ours.recv()


def test_a_peer_that_takes_nothing_any_more_ends_the_pipe_for_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipe, "SEND_S", 1.0)
    one, other = socket.socketpair()
    with Pipe(one) as ours, Pipe(other) as theirs:
        with pytest.raises(OSError, match=r".*"):
            ours.send(bytes(50_000_000))
        with pytest.raises(EOFError):
            ours.recv()
        with pytest.raises(EOFError):
            theirs.recv()
