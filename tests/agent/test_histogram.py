"""Ranks in constant memory, against ranks of the values themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core.window import nearest_rank
from secateur_agent.inference.histogram import MOST_US, PARTS, Histogram

latencies_us = st.integers(0, 10**9) | st.integers(0, 300)
ratios = st.sampled_from([0.5, 0.95, 0.99, 0.999, 1.0])


def counted(values: list[int]) -> Histogram:
    histogram = Histogram()
    half = len(values) // 2
    histogram.add(values[:half])
    histogram.add(values[half:])
    return histogram


@given(st.lists(latencies_us, min_size=1, max_size=300), ratios)
def test_a_rank_is_never_too_little_and_at_most_one_part_too_much(
    values: list[int], ratio: float
) -> None:
    exact = nearest_rank(sorted(values), ratio)
    found = counted(values).rank_us(ratio)
    assert exact <= found <= exact + exact // PARTS


@given(st.integers(-(10**6), 1 << 60))
def test_every_latency_is_counted_whatever_it_is(latency_us: int) -> None:
    histogram = counted([latency_us])
    assert histogram.total == 1
    assert 0 <= histogram.rank_us(1.0) <= MOST_US + MOST_US // PARTS


@given(st.lists(latencies_us, min_size=1, max_size=50))
def test_ranks_grow_with_the_ratio(values: list[int]) -> None:
    histogram = counted(values)
    ranks = [histogram.rank_us(ratio) for ratio in (0.5, 0.95, 0.99, 0.999, 1.0)]
    assert ranks == sorted(ranks)


def test_nothing_counted_has_no_rank() -> None:
    with pytest.raises(ValueError, match="no latency"):
        Histogram().rank_us(0.5)
