"""The numerics of weight pruning: masked least squares, elimination, rounding to codes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.pruning.weight import elimination
from secateur_server.pruning.weight.elimination import DAMPING, elimination_losses
from secateur_server.pruning.weight.masked import Keep, Matrix, Problem, solve_masked
from secateur_server.pruning.weight.rounding import round_to_codes

seeds = st.integers(0, 2**31)
sizes = st.integers(2, 12)


def stated(seed: int, features: int, outputs: int = 3, *, apart: bool = False) -> Problem:
    """A problem whose solution is not among the given weights: inputs differ from before."""
    random = np.random.default_rng(seed)
    count = outputs if apart else 1
    grams, products = [], []
    for k in range(count):
        before = random.normal(size=(4 * features, features)) @ random.normal(
            size=(features, features)
        )
        now = before + 0.1 * random.normal(size=before.shape)
        targets = before @ weights_of(seed, features, outputs)
        grams.append(now.T @ now)
        products.append(now.T @ (targets[:, k : k + 1] if apart else targets))
    if apart:
        return Problem(np.array(grams), np.concatenate(products, axis=1))
    return Problem(grams[0], products[0])


def weights_of(seed: int, features: int, outputs: int = 3) -> Matrix:
    return np.random.default_rng(seed + 1).normal(size=(features, outputs))


def mask_of(seed: int, features: int, outputs: int = 3) -> Keep:
    return np.random.default_rng(seed + 2).random((features, outputs)) < 0.5


@given(seeds, sizes, st.booleans(), st.integers(0, 30))
def test_a_fit_never_raises_the_error_of_any_output_and_leaves_zeros(
    seed: int,
    features: int,
    apart: bool,  # noqa: FBT001 - drawn by hypothesis
    steps: int,
) -> None:
    start, keep = weights_of(seed, features), mask_of(seed, features)
    problem = stated(seed, features, apart=apart)
    fitted = solve_masked(problem.damped(start, 1e-3), start, keep, steps)
    assert not fitted[~keep].any()
    before, after = problem.errors(np.where(keep, start, 0)), problem.errors(fitted)
    assert (after <= before + 1e-9 * np.abs(before)).all()


@given(seeds, sizes)
def test_a_fit_is_that_of_each_output_solved_on_its_own_weights(
    seed: int, features: int
) -> None:
    start, keep = weights_of(seed, features), mask_of(seed, features)
    damped = stated(seed, features).damped(start, 1e-2)
    fitted = solve_masked(damped, start, keep)
    for k in range(start.shape[1]):
        stay = np.flatnonzero(keep[:, k])
        alone = np.linalg.solve(damped.xx[np.ix_(stay, stay)], damped.xy[stay, k])
        assert np.allclose(fitted[stay, k], alone, atol=1e-3, rtol=1e-2)


def test_outputs_with_gram_matrices_of_their_own_are_solved_alike() -> None:
    shared = stated(3, 6)
    apart = Problem(np.tile(shared.xx, (3, 1, 1)), shared.xy)
    start, keep = weights_of(3, 6), mask_of(3, 6)
    fitted = [solve_masked(each.damped(start, 1e-2), start, keep) for each in (shared, apart)]
    assert np.allclose(fitted[0], fitted[1])
    assert np.allclose(shared.errors(start), apart.errors(start))


def error_without(xx: Matrix, weights: Matrix, gone: int) -> float:
    """Fit the others by least squares; a direct restatement for one weight."""
    damped = xx + DAMPING * np.trace(xx) / len(xx) * np.eye(len(xx))
    return float(weights[gone] ** 2 / np.linalg.inv(damped)[gone, gone])


@given(seeds, sizes)
def test_the_first_weight_to_leave_is_missed_least(seed: int, features: int) -> None:
    problem, weights = stated(seed, features), weights_of(seed, features)
    losses = elimination_losses(problem.xx, weights)
    for k in range(weights.shape[1]):
        first = losses[:, k].argmin()
        errors = [error_without(problem.xx, weights[:, k], gone) for gone in range(features)]
        assert errors[first] <= min(errors) * (1 + 1e-3)
        assert losses[first, k] == pytest.approx(min(errors), rel=1e-3, abs=1e-6)


@given(seeds, sizes)
def test_elimination_never_looks_at_the_sign(seed: int, features: int) -> None:
    problem, weights = stated(seed, features), weights_of(seed, features)
    losses = elimination_losses(problem.xx, weights)
    assert np.array_equal(losses, elimination_losses(problem.xx, -weights))
    flipped = np.where(np.arange(features) % 2, -1.0, 1.0)[:, None]
    mirrored = problem.xx * flipped * flipped.T
    assert np.allclose(losses, elimination_losses(mirrored, flipped * weights), rtol=1e-3)


@given(seeds)
def test_where_a_part_of_the_outputs_speaks_for_all_losses_are_of_the_same_size(
    seed: int,
) -> None:
    problem, weights = stated(seed, 8, 40), weights_of(seed, 8, 40)
    exact = elimination_losses(problem.xx, weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elimination, "MAX_WORK", 10 * 8**3)
        guessed = elimination_losses(problem.xx, weights)
    assert guessed.min() >= 0
    assert 0.2 < np.median(guessed) / np.median(exact) < 5
    order = (
        (
            weights**2
            / np.diag(np.linalg.inv(problem.xx + 1e-2 * np.trace(problem.xx) / 8 * np.eye(8)))[
                :, None
            ]
        )
        .ravel()
        .argsort()
    )
    assert (np.diff(guessed.ravel()[order]) >= -1e-3 * guessed.max()).all()


@given(seeds, sizes)
def test_weights_that_are_zero_already_leave_first(seed: int, features: int) -> None:
    problem, weights = stated(seed, features), weights_of(seed, features)
    weights[0] = 0
    losses = elimination_losses(problem.xx, weights)
    assert (losses.argmin(axis=0) == 0).all()
    assert not losses[0].any()


@given(seeds, sizes, st.booleans())
def test_codes_are_on_their_grid_and_no_worse_than_the_nearest_ones(
    seed: int,
    features: int,
    apart: bool,  # noqa: FBT001
) -> None:
    problem, keep = stated(seed, features, apart=apart), mask_of(seed, features)
    start = weights_of(seed, features)
    damped = problem.damped(start, 1e-3)
    fitted = solve_masked(damped, start, keep)
    scale = np.full_like(start, 0.2)
    limits = -7 * scale, 7 * scale
    coded = round_to_codes(damped, fitted, keep, scale, limits)
    steps = coded / scale
    assert np.allclose(steps, np.rint(steps), atol=1e-6)
    assert (np.abs(steps) <= 7 + 1e-6).all()
    assert not coded[~keep].any()
    nearest = np.where(keep, (np.rint(fitted / scale) * scale).clip(*limits), 0)
    before, after = damped.errors(nearest), damped.errors(coded)
    assert (after <= before + 1e-6 * np.abs(before).max()).all()
