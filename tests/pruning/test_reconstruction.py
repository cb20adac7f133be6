"""Least squares: with nothing to make up for, nothing changes; else the error falls."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.pruning.moments import Moments
from secateur_server.pruning.reconstruction import solve
from secateur_server.pruning.taps import TapMoments

Array = npt.NDArray[np.float32]


def data(seed: int, rows: int, features: int, outputs: int) -> tuple[Array, Array, Array]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, features)) @ random.normal(size=(features, features))
    weights = random.normal(size=(features, outputs))
    return x.astype(np.float32), weights.astype(np.float32), (x @ weights).astype(np.float32)


@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 4))
def test_weights_that_are_right_stay(seed: int, features: int, outputs: int) -> None:
    x, weights, y = data(seed, 200, features, outputs)
    moments = Moments()
    moments.add(x, y)
    start = weights.astype(np.float64)
    assert np.allclose(solve(moments.xx, moments.xy, start, 1e-3), start, atol=1e-2)


@given(st.integers(0, 2**31), st.integers(2, 8))
def test_the_fitted_weights_are_no_worse_than_those_they_started_from(
    seed: int, features: int
) -> None:
    x, weights, y = data(seed, 200, features, 3)
    less, start = x[:, 1:], weights[1:].astype(np.float64)
    moments = Moments()
    moments.add(less, y)
    fitted = solve(moments.xx, moments.xy, start, 1e-3)
    before = ((less @ start - y) ** 2).sum()
    after = ((less @ fitted - y) ** 2).sum()
    assert after <= before * (1 + 1e-4) + 1e-3


@given(st.integers(0, 2**31), st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_moments_do_not_depend_on_the_pieces_they_are_summed_from(
    seed: int, cuts: list[int]
) -> None:
    x, _, y = data(seed, sum(cuts), 5, 2)
    whole, parts = Moments(), Moments()
    whole.add(x, y)
    for part in np.split(np.arange(len(x)), np.cumsum(cuts)[:-1]):
        parts.add(x[part], y[part])
    for one, other in zip(whole.centred(), parts.centred(), strict=True):
        assert np.allclose(one, other, rtol=1e-3, atol=1e-3 * (1 + np.abs(one).max()))


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 2))
def test_a_depthwise_convolution_finds_its_weights_again(
    seed: int, channels: int, multiplier: int
) -> None:
    random = np.random.default_rng(seed)
    laid = random.normal(size=(500, 9, channels)).astype(np.float32)
    weights = random.normal(size=(1, 3, 3, channels * multiplier)).astype(np.float32)
    bias = random.normal(size=channels * multiplier).astype(np.float32)
    taps = weights.reshape(9, channels, multiplier)
    y = np.einsum("rtc,tcm->rcm", laid, taps).reshape(500, -1) + bias
    moments = TapMoments(9, channels, multiplier)
    moments.add(laid, y.astype(np.float32))
    fitted, found = moments.solve(np.zeros_like(weights), 1e-6)
    assert np.allclose(fitted, weights, atol=1e-2)
    assert np.allclose(found, bias, atol=1e-2)
