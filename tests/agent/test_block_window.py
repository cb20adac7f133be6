"""Every byte is asked for and taken once, whatever a broker loses, doubles or delays."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core.block_window import LONGEST_PATIENCE_S, BlockWindow, ask, begin, take
from secateur_protocols.blocks import BLOCK_BYTES, MAX_BLOCKS, MIN_BLOCK_BYTES

sizes = st.integers(1, 3_000_000)


@given(size=sizes, held=st.floats(0, 1), chance=st.randoms(use_true_random=False))
def test_a_lossy_broker_delivers_all_bytes_in_order(
    size: int,
    held: float,
    chance: "st.random.Random",  # type: ignore[name-defined]
) -> None:
    window = begin(size, offset=int(held * size), now_s=0.0)
    now_s, steps = 0.0, 0
    under_way: list[tuple[int, int]] = []
    written = window.offset
    while not window.is_complete:
        steps += 1
        assert steps < 20_000
        window, wanted = ask(window, now_s=now_s)
        if wanted is not None:
            for number in range(wanted.blocks):
                offset = wanted.offset + number * wanted.block_bytes
                count = min(wanted.block_bytes, size - offset)
                if chance.random() < 0.9:
                    under_way += [(offset, count)] * chance.choice([1, 1, 2])
        if under_way and chance.random() < 0.8:
            offset, count = under_way.pop(0)
            window, taken = take(window, offset, count, now_s=now_s)
            if taken:
                assert offset == written
                written += taken
            now_s += 0.01
        else:
            now_s += 1.0
    assert written == size


@given(size=sizes, steps=st.lists(st.floats(0, 60), max_size=60))
def test_what_is_on_its_way_is_bounded_and_silence_makes_it_small(
    size: int, steps: list[float]
) -> None:
    window = begin(size, offset=0, now_s=0.0)
    now_s = 0.0
    for step in steps:
        now_s += step
        window, wanted = ask(window, now_s=now_s)
        if wanted is not None:
            assert 1 <= wanted.blocks <= MAX_BLOCKS
            assert MIN_BLOCK_BYTES <= wanted.block_bytes <= BLOCK_BYTES
            assert wanted.offset < size
        assert window.asked - window.offset <= MAX_BLOCKS * BLOCK_BYTES
        assert window.patience_s <= LONGEST_PATIENCE_S


@given(st.floats(1000, 1e7), st.lists(st.floats(0, 0.5), max_size=60))
def test_no_more_than_a_second_of_a_limited_rate_is_on_its_way_or_one_block(
    rate_bytes_per_s: float, pauses: list[float]
) -> None:
    window = begin(100_000_000, offset=0, now_s=0.0, rate_bytes_per_s=rate_bytes_per_s)
    now_s = 0.0
    for pause in pauses:
        now_s += pause
        window, _ = ask(window, now_s=now_s)
        assert window.asked > window.offset, "it always asks for something"
        assert window.asked - window.offset <= max(rate_bytes_per_s, window.block_bytes)
        window, _ = take(window, window.offset, window.block_bytes, now_s=now_s)


def test_quick_blocks_open_the_window_and_nothing_asks_twice_without_reason() -> None:
    window = begin(100_000_000, offset=0, now_s=0.0)
    asked = 0
    for _ in range(60):
        window, wanted = ask(window, now_s=0.0)
        if wanted is not None:
            assert wanted.offset == asked
            asked += wanted.blocks * wanted.block_bytes
        window, _ = take(window, window.offset, window.block_bytes, now_s=0.0)
    assert (window.blocks, window.block_bytes) == (MAX_BLOCKS, BLOCK_BYTES)


def test_a_block_that_does_not_fit_is_dropped() -> None:
    window: BlockWindow = begin(10_000, offset=5_000, now_s=0.0)
    assert take(window, 0, 5_000, now_s=1.0) == (window, 0)
    assert take(window, 6_000, 100, now_s=1.0) == (window, 0)
    after, taken = take(window, 5_000, 9_000, now_s=1.0)
    assert (after.offset, taken) == (10_000, 5_000)
