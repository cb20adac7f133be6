"""Delays between tries."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core.backoff import backoff_s

attempts = st.integers(1, 10_000)
chances = st.floats(0, 1, exclude_max=True)
spans = st.floats(0.01, 1000)


@given(attempts, chances, spans, spans)
def test_a_delay_lies_between_nothing_and_the_cap(
    attempt: int, chance: float, base_s: float, cap_s: float
) -> None:
    assert 0 <= backoff_s(attempt, chance=chance, base_s=base_s, cap_s=cap_s) <= cap_s


@given(st.integers(1, 40), chances)
def test_the_same_chance_never_waits_less_at_a_later_try(attempt: int, chance: float) -> None:
    assert backoff_s(attempt, chance=chance) <= backoff_s(attempt + 1, chance=chance)


@given(attempts)
def test_jitter_is_full(attempt: int) -> None:
    assert backoff_s(attempt, chance=0.0) == 0.0
    half = backoff_s(attempt, chance=0.5)
    assert backoff_s(attempt, chance=0.25) * 2 == half


def test_the_first_delay_ends_at_the_base_and_doubles() -> None:
    ends = [
        backoff_s(attempt, chance=0.5, base_s=2.0, cap_s=9.0) * 2 for attempt in range(1, 5)
    ]
    assert ends == [2.0, 4.0, 8.0, 9.0]
