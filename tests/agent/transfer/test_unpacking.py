"""What comes packed is unpacked byte by byte as it was, in bounded pieces, and no further."""

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.transfer.unpacking import PackedError, Unpacked


class Trickle:
    """Gives what it holds in pieces of given sizes."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        self._content = io.BytesIO(content)
        self._sizes = sizes

    def read1(self, count: int, /) -> bytes:
        size = self._sizes.pop(0) if self._sizes else count
        return self._content.read(min(count, size))


def read_all(unpacked: Unpacked, count: int) -> bytes:
    found = b""
    while piece := unpacked.read1(count):
        assert len(piece) <= count
        found += piece
    return found


contents = st.one_of(st.binary(max_size=5000), st.builds(bytes, st.integers(0, 200_000)))


@given(contents, st.lists(st.integers(1, 100), max_size=50), st.integers(1, 5000))
def test_whatever_the_pieces_are_the_file_is_the_same(
    content: bytes, sizes: list[int], count: int
) -> None:
    packed = gzip.compress(content)
    assert read_all(Unpacked(Trickle(packed, sizes), "blob", len(packed)), count) == content


@given(contents, st.integers(0, 100))
def test_what_is_cut_gives_a_beginning_and_no_error(content: bytes, cut: int) -> None:
    packed = gzip.compress(content)
    short = packed[: max(0, len(packed) - 1 - cut)]
    found = read_all(Unpacked(Trickle(short, []), "blob", len(packed)), 1000)
    assert content.startswith(found)


@given(st.binary(max_size=2000), st.integers(1, 1000))
def test_anything_else_is_an_error_of_ours_or_ends(junk: bytes, count: int) -> None:
    try:
        read_all(Unpacked(Trickle(junk, []), "blob", 1 << 20), count)
    except PackedError:
        return


def test_no_more_packed_bytes_are_read_than_the_file_has() -> None:
    endless = gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 100_000  # empty blocks
    with pytest.raises(PackedError, match="longer packed"):
        read_all(Unpacked(Trickle(endless, []), "blob", 100_000), 1000)
