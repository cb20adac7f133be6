"""Coordinates show the same network from where learning is easy."""

import numpy as np
import pytest

from secateur_server.pruning.distillation import coordinates
from secateur_server.pruning.distillation.coordinates import measure
from secateur_server.pruning.distillation.network import differentiable
from secateur_server.pruning.distillation.parameters import trainable
from secateur_server.pruning.graph import Array, Graph
from secateur_server.pruning.linear import as_matrix, rows
from support.lone_operators import lone_operator


@pytest.mark.parametrize("most", [1024, 8])
def test_parameters_come_back_from_their_coordinates(
    teacher: Graph, samples: Array, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinates, "MAX_FEATURES", most)
    x = samples[:64].reshape(64, *teacher.tensors[teacher.inputs[0]].shape)
    found = measure(teacher, [(x[:32],), (x[32:],)])
    given = trainable(teacher)
    back = found.outward(found.inward(given))
    assert len(found._whitenings) > 1
    for key, values in given.items():
        assert back[key].shape == values.shape
        largest = np.abs(values).max()
        np.testing.assert_allclose(back[key], values, rtol=1e-3, atol=1e-3 * largest)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_convolution_is_the_same_in_its_coordinates(multiplier: int) -> None:
    chance = np.random.default_rng(multiplier)
    outputs = 4 * multiplier
    graph = lone_operator(
        "DEPTHWISE_CONV_2D",
        [
            (1, 7, 6, 4),
            chance.standard_normal((1, 3, 3, outputs)).astype(np.float32),
            chance.standard_normal(outputs).astype(np.float32),
        ],
        [(1, 7, 6, outputs)],
        "DepthwiseConv2DOptions",
        depthMultiplier=multiplier,
        strideH=1,
        strideW=1,
        dilationHFactor=1,
        dilationWFactor=1,
    )
    x = chance.uniform(0, 255, (16, 1, 7, 6, 4)).astype(np.float32)
    found = measure(graph, [(x,)])
    seen = found.inward(trainable(graph))
    assert seen[1].shape == (4, 9, multiplier)
    run = differentiable(graph, graph.outputs)
    (before,), (after,) = run({}, x), run(found.outward(seen), x)
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-1)


def test_in_the_coordinates_of_a_dense_layer_inputs_are_round() -> None:
    chance = np.random.default_rng(0)
    mixed = chance.standard_normal((4000, 6)) @ chance.standard_normal((6, 6)) + 100
    x = mixed.astype(np.float32).reshape(-1, 1, 6)
    graph = lone_operator(
        "FULLY_CONNECTED",
        [(1, 6), chance.standard_normal((3, 6)).astype(np.float32), np.zeros(3, np.float32)],
        [(1, 3)],
        "FullyConnectedOptions",
    )
    found = measure(graph, [(x,)])
    (whitening,) = found._whitenings
    laid = rows(graph, graph.operators[0], x, 1, 0)
    seen = (laid - whitening.mean[0]) @ whitening.spread[0]
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-2)
    powers = np.linalg.eigvalsh(np.cov(seen.T))
    assert powers.min() > 0.1
    assert powers.max() < 1.1
    weights = as_matrix(graph.operators[0], trainable(graph)[1])
    inner = found.inward(trainable(graph))
    np.testing.assert_allclose(
        seen @ inner[1][0] + inner[2], laid @ weights, rtol=1e-3, atol=1e-2
    )
