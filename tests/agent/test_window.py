"""Ranks of latencies, and the history of periods."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core.window import nearest_rank, remember
from secateur_protocols.plain import MAX_HISTORY

values = st.lists(st.floats(0, 1e6), min_size=1, max_size=200).map(sorted)
ratios = st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999, 1.0])


@given(values, ratios)
def test_a_rank_is_one_of_the_values(ordered: list[float], ratio: float) -> None:
    assert nearest_rank(ordered, ratio) in ordered


@given(st.integers(1, 2000), ratios)
def test_a_rank_is_the_smallest_that_enough_values_do_not_exceed(
    count: int, ratio: float
) -> None:
    """Checked with exact arithmetic over values that are their own positions."""
    rank = nearest_rank(range(1, count + 1), ratio)
    exact = Fraction(str(ratio)) * count
    assert Fraction(rank) >= exact
    assert Fraction(rank - 1) < exact


@given(values)
def test_a_higher_rank_is_never_lower(ordered: list[float]) -> None:
    ranks = [nearest_rank(ordered, ratio) for ratio in (0.5, 0.95, 0.99, 1.0)]
    assert ranks == sorted(ranks)
    assert ranks[-1] == ordered[-1]


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=50))
def test_history_keeps_the_newest_periods_with_answers_in_order(
    periods: list[float | None],
) -> None:
    history: tuple[float, ...] = ()
    for p95_ms in periods:
        history = remember(history, p95_ms)
    answered = [p95_ms for p95_ms in periods if p95_ms is not None]
    assert list(history) == answered[-MAX_HISTORY:]
