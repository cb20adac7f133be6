"""Rungs: what nothing else beats in every way."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_server.pruning.pareto import LATENCY_NOISE, MEMORY_NOISE, Merits, rungs

merits = st.builds(
    Merits,
    accuracy=st.sampled_from([0.5, 0.7, 0.8, 0.9]),
    p50_ms=st.sampled_from([0.5, 1.0, 1.01, 2.0, 4.0]),
    size_bytes=st.integers(1, 6),
    macs=st.integers(0, 6),
    memory_bytes=st.none() | st.sampled_from([100, 103, 200]),
)
candidates = st.lists(merits, min_size=1, max_size=8)


def is_better_beyond_noise(one: Merits, other: Merits) -> bool:
    """Nowhere worse at all, and somewhere better by more than noise: a restatement."""
    known = one.memory_bytes is not None and other.memory_bytes is not None
    one_memory, other_memory = (
        (one.memory_bytes or 0, other.memory_bytes or 0) if known else (0, 0)
    )
    nowhere_worse = (
        one.accuracy >= other.accuracy
        and one.p50_ms <= other.p50_ms
        and one.size_bytes <= other.size_bytes
        and one_memory <= other_memory
    )
    somewhere_better = (
        one.accuracy > other.accuracy
        or one.p50_ms < other.p50_ms * (1 - LATENCY_NOISE)
        or one.size_bytes < other.size_bytes
        or one_memory < other_memory * (1 - MEMORY_NOISE)
    )
    return nowhere_worse and somewhere_better


@given(candidates)
def test_the_dense_network_is_the_first_rung_and_each_candidate_is_accounted_for(
    found: list[Merits],
) -> None:
    stay, dropped = rungs(found)
    assert stay[0] == 0
    assert sorted([*stay, *(each.index for each in dropped)]) == list(range(len(found)))


@given(candidates)
def test_no_rung_below_the_dense_one_is_beaten_by_another(found: list[Merits]) -> None:
    stay, _ = rungs(found)
    for other in stay[1:]:
        assert not any(
            is_better_beyond_noise(found[one], found[other]) for one in stay if one != other
        )


@given(candidates)
def test_rungs_fall_in_multiply_accumulates_and_then_in_size(found: list[Merits]) -> None:
    stay, _ = rungs(found)
    keys = [(found[k].macs, found[k].size_bytes) for k in stay[1:]]
    assert keys == sorted(keys, reverse=True)


@given(candidates, st.floats(0, 1))
def test_nothing_below_the_floor_stays_but_the_dense_network(
    found: list[Merits], floor: float
) -> None:
    stay, _ = rungs(found, floor)
    assert all(found[k].accuracy >= floor for k in stay[1:])


def test_of_two_that_are_alike_the_first_stays() -> None:
    dense = Merits(0.9, 2.0, 10, 10)
    alike = Merits(0.8, 1.0, 5, 5)
    stay, dropped = rungs([dense, alike, alike])
    assert stay == [0, 1]
    assert [(each.index, each.rival) for each in dropped] == [(2, 1)]
