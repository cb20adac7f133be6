"""Which weights become zero."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.errors import InputError
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.weight.choice import Scope, least_missed, magnitude_scores
from secateur_server.pruning.weight.cut import TensorCut, describe, staying
from secateur_server.pruning.weight.layer import Layer, find_layers
from secateur_server.pruning.weight.pruning import (
    cut_below,
    cut_least_missed,
    cut_relatively,
)
from support.pruned import graph_of
from support.tiny_models import Network

seeds = st.integers(0, 2**31)
shares = st.floats(0.01, 0.99)


def network(seed: int, scale: float = 1.0, levels: int = 0) -> Graph:
    """Two convolutions and a dense layer; with few distinct magnitudes if asked."""
    random, net = np.random.default_rng(seed), Network()

    def drawn(*shape: int, by: float = 1.0) -> np.ndarray:
        values = random.normal(size=shape)
        if levels:
            values = np.rint(values * levels) / levels
        return np.asarray(values * by, np.float32)

    x = net.input(1, 6, 6, 2)
    x = net.conv(x, drawn(4, 3, 3, 2, by=scale), random.normal(size=4))
    x = net.depthwise(x, drawn(1, 3, 3, 4), random.normal(size=4))
    x = net.op("MEAN", x, net.constant(np.array([1, 2], np.int32)))
    return graph_of(net.finish(net.dense(x, drawn(3, 4), random.normal(size=3))))


def magnitudes_left(layers: list[Layer], cuts: tuple[TensorCut, ...]) -> list[np.ndarray]:
    return [
        np.abs(layer.weights[staying(cut, layer)])
        for layer, cut in zip(layers, cuts, strict=True)
    ]


@given(seeds, shares, st.sampled_from(Scope), st.sampled_from([0, 2]))
def test_a_sparsity_is_reached_exactly_and_the_smallest_go_first(
    seed: int, share: float, scope: Scope, levels: int
) -> None:
    layers = find_layers(network(seed, levels=levels))
    scores = magnitude_scores(layers, scope)
    keeps = least_missed(scores, share, scope)
    sizes = {each.operator.index: each.weights.size for each in layers}
    gone = {index: int((~keep).sum()) for index, keep in keeps.items()}
    if scope is Scope.LAYER:
        assert gone == {k: min(round(share * n), n - 1) for k, n in sizes.items()}
    else:
        total = sum(sizes.values())
        assert sum(gone.values()) == min(round(share * total), total - len(sizes))
    for layer in layers:
        keep, weights = keeps[layer.operator.index], np.abs(layer.weights)
        assert keep.any()
        if not keep.all():
            assert weights[~keep].max() <= weights[keep].min() + 1e-7


@given(seeds, shares, st.sampled_from(Scope))
def test_the_sign_never_matters(seed: int, share: float, scope: Scope) -> None:
    graph = network(seed)
    layers = find_layers(graph)
    flipped = graph
    for layer in layers:
        flipped = flipped.with_values(layer.tensor.index, -layer.weights, None)
    one, other = (
        least_missed(magnitude_scores(each, scope), share, scope)
        for each in (layers, find_layers(flipped))
    )
    assert all(np.array_equal(one[key], other[key]) for key in one)


@given(seeds, shares)
def test_over_the_network_the_scale_of_a_tensor_never_matters(seed: int, share: float) -> None:
    one, other = (
        least_missed(
            magnitude_scores(find_layers(network(seed, scale)), Scope.NETWORK),
            share,
            Scope.NETWORK,
        )
        for scale in (1.0, 2.0**-10)
    )
    assert all(np.array_equal(one[key], other[key]) for key in one)


@given(seeds, st.floats(0.01, 0.99))
def test_a_relative_threshold_is_of_each_tensors_largest_magnitude(
    seed: int, share: float
) -> None:
    layers = find_layers(network(seed, scale=0.01))
    cuts = cut_relatively(layers, share)
    for layer, cut in zip(layers, cuts, strict=True):
        magnitudes = np.abs(layer.weights)
        assert np.array_equal(staying(cut, layer), magnitudes >= share * magnitudes.max())
        assert not cut.spared


@given(seeds, st.floats(0.01, 3))
def test_an_absolute_threshold_spares_a_tensor_that_it_would_wipe_out(
    seed: int, threshold: float
) -> None:
    layers = find_layers(network(seed, scale=0.001))
    cuts = cut_below(layers, threshold)
    for layer, cut in zip(layers, cuts, strict=True):
        above = np.abs(layer.weights) >= threshold
        assert bool(cut.spared) == (not above.any())
        assert np.array_equal(staying(cut, layer), above if above.any() else above | True)
    assert cuts[0].spared


@given(seeds, shares, st.sampled_from(["threshold", "mask"]))
def test_a_cut_says_again_what_it_was_made_of(seed: int, share: float, how: str) -> None:
    layer = find_layers(network(seed, levels=2))[0]
    if how == "mask":
        keep = np.random.default_rng(seed).random(layer.weights.shape) >= share
    else:
        key = layer.operator.index
        keep = least_missed({key: np.abs(layer.weights)}, share, Scope.LAYER)[key]
    cut = describe(layer, keep)
    again = TensorCut.model_validate_json(cut.model_dump_json())
    assert np.array_equal(staying(again, layer), keep)
    assert cut.zeros == int((~keep | (layer.weights == 0)).sum())
    if how == "threshold":
        assert cut.mask is None


def test_a_plan_of_another_model_or_damaged_is_refused() -> None:
    one, other = find_layers(network(1))[:2]
    keep = np.random.default_rng(0).random(one.weights.shape) > 0.5
    cut = describe(one, keep)
    assert cut.mask is not None
    with pytest.raises(InputError, match="another model"):
        staying(cut, other)
    for mask in ("!!", "AAAA", cut.mask[:8]):
        with pytest.raises(InputError, match="damaged"):
            staying(cut.model_copy(update={"mask": mask}), one)


def test_weights_without_a_loss_are_taken_by_magnitude() -> None:
    layers = find_layers(network(4))
    first = layers[0]
    losses = {first.operator.index: -np.abs(first.weights).astype(np.float64)}
    cuts = cut_least_missed(layers, losses, 0.5, Scope.NETWORK)
    left = magnitudes_left(layers, cuts)
    assert left[0].max() < np.abs(first.weights).max()
    for layer, each in zip(layers[1:], left[1:], strict=True):
        assert len(each) == layer.weights.size - round(0.5 * layer.weights.size)
        assert each.max() == np.abs(layer.weights).max()
