"""What of a period is chance and what is change."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.core.pace import MOST_SCATTER, USUAL_SCATTER, pace_of
from support.situations import make_ladder, make_measured

LADDER = make_ladder()

latencies_ms = st.lists(st.floats(0.01, 1e5), min_size=1, max_size=16)


def now_ms(recent_ms: Sequence[float]) -> float:
    pace = pace_of(make_measured(LADDER, 0, recent_ms))
    assert pace is not None
    return pace.now_ms


def test_a_model_without_answers_has_no_pace() -> None:
    assert pace_of(make_measured(LADDER, 0, [])) is None


def test_a_first_period_counts_as_it_is_with_the_usual_scatter() -> None:
    pace = pace_of(make_measured(LADDER, 0, [7.0]))
    assert pace is not None
    assert (pace.now_ms, pace.scatter) == (7.0, USUAL_SCATTER)


def test_a_period_within_the_scatter_is_taken_together_with_those_before() -> None:
    assert now_ms([7.0, 6.8, 7.2, 7.1, 6.9, 7.4]) == pytest.approx(7.05, rel=0.01)


def test_a_burst_counts_in_full_at_once_and_so_does_its_end() -> None:
    assert now_ms([7.0, 6.9, 7.1, 7.0, 12.0]) == 12.0
    assert now_ms([7.0, 7.1, 12.0, 12.1, 11.9, 12.0, 7.0]) == 7.0


def test_however_restless_a_device_was_much_slower_counts_at_once() -> None:
    restless = [5.0, 9.0, 4.0, 10.0, 5.0, 9.0]
    assert now_ms([*restless, 40.0]) == 40.0


@given(latencies_ms)
def test_the_pace_is_never_further_from_the_newest_period_than_scatter_goes(
    recent_ms: list[float],
) -> None:
    most = math.exp(MOST_SCATTER)
    newest_ms = recent_ms[-1]
    assert newest_ms / most <= now_ms(recent_ms) * (1 + 1e-9)
    assert now_ms(recent_ms) <= newest_ms * most * (1 + 1e-9)


@given(latencies_ms, st.floats(1.0, 100.0))
def test_a_device_so_many_times_faster_has_a_pace_so_many_times_faster(
    recent_ms: list[float], times: float
) -> None:
    faster = now_ms([each / times for each in recent_ms])
    assert faster <= now_ms(recent_ms) * (1 + 1e-9)
