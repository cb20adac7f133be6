"""Devices get their blocks in turns, and none can make the others wait for long."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.blocks import MAX_BLOCKS, BlocksRequest
from secateur_server.core import block_queue
from secateur_server.core.block_queue import MAX_REQUESTS, BlockQueue, Piece

PATH = "blobs/" + "a" * 64


def request(number: int = 1, *, offset: int = 0, blocks: int = 4) -> BlocksRequest:
    return BlocksRequest(
        request=number, path=PATH, offset=offset, blocks=blocks, block_bytes=4096
    )


def drain(queue: BlockQueue) -> list[Piece]:
    pieces = []
    while (piece := queue.next()) is not None:
        pieces.append(piece)
    return pieces


def test_devices_take_turns() -> None:
    queue = BlockQueue()
    for device in ("a", "b", "c"):
        queue.add(device, request())
    assert [piece.device for piece in drain(queue)] == ["a", "b", "c"] * 4


def test_a_request_is_answered_block_by_block_and_ends_where_the_file_does() -> None:
    queue = BlockQueue()
    queue.add("a", request())
    assert [piece.offset for piece in drain(queue)] == [0, 4096, 8192, 12288]
    queue.add("a", request(2))
    piece = queue.next()
    assert piece is not None
    queue.end(piece)
    assert queue.next() is None


def test_impatience_does_not_add_to_the_load() -> None:
    queue = BlockQueue()
    for number in range(50):
        queue.add("a", request(number, blocks=MAX_BLOCKS))
    assert {piece.request for piece in drain(queue)} == {49}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9)), max_size=300))
def test_what_waits_is_bounded(asked: list[tuple[str, int]]) -> None:
    queue = BlockQueue()
    for number, (device, offset) in enumerate(asked):
        queue.add(device, request(number, offset=offset * 4096, blocks=MAX_BLOCKS))
    per_device: dict[str, int] = {}
    for piece in drain(queue):
        per_device[piece.device] = per_device.get(piece.device, 0) + 1
    assert all(count <= MAX_REQUESTS * MAX_BLOCKS for count in per_device.values())
    assert len(queue) == 0


def test_a_crowd_beyond_the_bound_is_told_to_ask_again() -> None:
    queue = BlockQueue()
    for number in range(block_queue.MAX_DEVICES):
        assert queue.add(f"d-{number}", request())
    assert not queue.add("one-more", request())
    assert queue.add("d-0", request(2, offset=4096 * 4))
