"""The choice for several models is the best there is, checked against trying all."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from secateur_server.core.combination import Option, best_combination

amounts = st.integers(0, 8).map(float)
options = st.builds(
    Option,
    level=st.integers(0, 7),
    value=st.integers(0, 20).map(float),
    needs=st.tuples(amounts, amounts),
)
choices = st.lists(st.lists(options, min_size=1, max_size=5), min_size=1, max_size=4)


@given(choices, st.tuples(amounts, amounts))
def test_no_combination_that_keeps_the_limits_is_worth_more(
    given_choices: list[list[Option]], limits: tuple[float, float]
) -> None:
    kept = [
        combination
        for combination in itertools.product(*given_choices)
        if all(
            sum(option.needs[which] for option in combination) <= limits[which]
            for which in range(2)
        )
    ]
    levels = best_combination(given_choices, limits)
    assert (levels is None) == (not kept)
    if levels is not None:
        best = max(sum(option.value for option in combination) for combination in kept)
        matching = [
            combination
            for combination in kept
            if tuple(option.level for option in combination) == levels
        ]
        assert any(sum(option.value for option in each) == best for each in matching)


def test_models_share_so_that_the_total_is_best_and_not_one_of_them() -> None:
    greedy = [Option(0, 0.9, (8.0,)), Option(1, 0.5, (2.0,))]
    modest = [Option(0, 0.9, (6.0,)), Option(1, 0.85, (3.0,))]
    assert best_combination([greedy, modest], (11.0,)) == (0, 1)
    assert best_combination([greedy, modest], (8.0,)) == (1, 0)


def test_a_device_that_claims_many_models_does_not_stall_its_coordinator() -> None:
    many = [
        [Option(level, 1.0 + level * model / 7, (float(level * model % 11), float(level)))
         for level in range(8)]
        for model in range(1, 25)
    ]  # fmt: skip
    assert best_combination(many, (60.0, 90.0)) is not None
