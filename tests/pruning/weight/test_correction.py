"""Networks whose weights were pruned, as the engine runs them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from secateur_server.pruning.graph import Graph
from secateur_server.pruning.linear import bias_of
from secateur_server.pruning.weight.choice import Scope, least_missed, magnitude_scores
from secateur_server.pruning.weight.correction import correct, removal_losses, zeroed
from secateur_server.pruning.weight.cut import WeightPlan
from secateur_server.pruning.weight.layer import find_layers
from secateur_server.pruning.weight.pruning import carry_out, cut_least_missed
from support.pruned import graph_of, packed
from support.quantized_twins import float16, hybrid, int8, uint8
from support.tiny_models import RELU, Network, run

SAMPLES = 200


def network() -> bytes:
    """Every operator whose weights can be corrected."""
    random, net = np.random.default_rng(1), Network()
    x = net.input(1, 8, 8, 3)
    x = net.conv(x, random.normal(size=(16, 3, 3, 3)), random.normal(size=16), activation=RELU)
    x = net.depthwise(x, random.normal(size=(1, 3, 3, 32)), random.normal(size=32))
    x = net.conv(x, random.normal(size=(16, 1, 1, 32)), random.normal(size=16), stride=2)
    x = net.op("MEAN", x, net.constant(np.array([1, 2], np.int32)))
    x = net.dense(x, random.normal(size=(24, 16)), random.normal(size=24), activation=RELU)
    return net.finish(net.dense(x, random.normal(size=(5, 24)), random.normal(size=5)))


def images(count: int = SAMPLES, seed: int = 2) -> np.ndarray:
    rough = np.random.default_rng(seed).normal(size=(count, 1, 4, 4, 3))
    smooth = rough.repeat(2, axis=2).repeat(2, axis=3)
    return np.asarray(smooth, np.float32)


TWINS: dict[str, Callable[[bytes], bytes]] = {
    "float32": lambda content: content,
    "float16": float16,
    "hybrid": hybrid,
    "int8": lambda content: int8(content, *((each,) for each in images(50))),
    "uint8": lambda content: uint8(content, *((each,) for each in images(50))),
}


def outputs(content: bytes, samples: np.ndarray) -> np.ndarray:
    return np.array([run(content, sample)[0] for sample in samples])


def error(found: np.ndarray, dense: np.ndarray) -> float:
    return float(((found - dense) ** 2).mean() / dense.var())


@pytest.fixture(scope="module", params=list(TWINS))
def content(request: pytest.FixtureRequest) -> bytes:
    return TWINS[request.param](network())


def masks(graph: Graph, sparsity: float) -> dict[int, np.ndarray]:
    scores = magnitude_scores(find_layers(graph), Scope.NETWORK)
    return least_missed(scores, sparsity, Scope.NETWORK)


def test_a_correction_brings_the_outputs_back(content: bytes) -> None:
    graph = graph_of(content)
    layers, keeps = find_layers(graph), masks(graph, 0.4)
    feeds = {graph.inputs[0]: images()}
    unseen = images(40, seed=3)
    dense = outputs(content, unseen)
    plain = outputs(packed(content, graph, zeroed(graph, layers, keeps)), unseen)
    fitted = outputs(packed(content, graph, correct(graph, layers, keeps, feeds)), unseen)
    assert error(fitted, dense) < 0.5 * error(plain, dense)


def test_zeros_stay_zeros_and_biases_stay_what_they_were(content: bytes) -> None:
    graph = graph_of(content)
    layers, keeps = find_layers(graph), masks(graph, 0.6)
    pruned = correct(graph, layers, keeps, {graph.inputs[0]: images()})
    written = graph_of(packed(content, graph, pruned))
    for layer, after in zip(layers, find_layers(written), strict=True):
        keep = keeps[layer.operator.index]
        assert not after.weights[~keep].any()
        was, now = bias_of(graph, layer.operator), bias_of(written, after.operator)
        if was is not None and now is not None:
            data = written.tensors[after.operator.inputs[0]].quantization
            scale = written.tensors[after.tensor.storage].quantization
            step = data.scales[0] * scale.scales.max() if data and scale else 0.0
            assert np.abs(was - now).max() <= step


def test_without_a_correction_only_zeros_change(content: bytes) -> None:
    graph = graph_of(content)
    layers, keeps = find_layers(graph), masks(graph, 0.6)
    written = graph_of(packed(content, graph, zeroed(graph, layers, keeps)))
    for layer, after in zip(layers, find_layers(written), strict=True):
        keep = keeps[layer.operator.index]
        assert np.array_equal(after.weights, np.where(keep, layer.weights, 0))
    for before, now_there in zip(graph.operators, written.operators, strict=True):
        was, now = bias_of(graph, before), bias_of(written, now_there)
        assert was is None or np.array_equal(was, np.asarray(now))


def test_what_is_missed_least_is_a_better_choice_than_the_smallest() -> None:
    content = network()
    graph = graph_of(content)
    layers, feeds = find_layers(graph), {graph.inputs[0]: images()}
    losses = removal_losses(graph, layers, feeds, lambda _share: None)
    assert losses.keys() == {each.operator.index for each in layers}
    unseen = images(40, seed=3)
    dense, errors = outputs(content, unseen), []
    for ranked in (losses, magnitude_scores(layers, Scope.LAYER)):
        keeps = least_missed(ranked, 0.6, Scope.LAYER)
        pruned = correct(graph, layers, keeps, feeds)
        errors.append(error(outputs(packed(content, graph, pruned), unseen), dense))
    assert errors[0] < errors[1]


def test_a_plan_that_was_written_and_read_makes_the_same_network() -> None:
    content = network()
    graph = graph_of(content)
    layers, feeds = find_layers(graph), {graph.inputs[0]: images()}
    losses = removal_losses(graph, layers, feeds, lambda _share: None)
    cuts = cut_least_missed(layers, losses, 0.5, Scope.NETWORK)
    plan = WeightPlan(rule="magnitude 0.5", corrected=True, cuts=cuts)
    assert plan.zeros_ratio == pytest.approx(0.5, abs=0.01)
    again = WeightPlan.model_validate_json(plan.model_dump_json())
    one, other = (
        packed(content, graph, carry_out(graph, layers, each, feeds)) for each in (plan, again)
    )
    assert one == other


def test_shared_weights_are_pruned_once_and_not_corrected() -> None:
    random, net = np.random.default_rng(5), Network()
    x = net.input(1, 4, 4, 4)
    weights = net.constant(np.asarray(random.normal(size=(4, 1, 1, 4)), np.float32))
    bias = net.constant(np.zeros(4, np.float32))
    options: dict[str, Any] = {"padding": 0, "strideH": 1, "strideW": 1}
    options |= {"dilationHFactor": 1, "dilationWFactor": 1}
    y = net.op("CONV_2D", x, weights, bias, **options)
    graph = graph_of(net.finish(net.op("CONV_2D", y, weights, bias, **options)))
    (layer,) = find_layers(graph)
    assert not layer.is_solvable
    keeps = masks(graph, 0.5)
    feeds = {graph.inputs[0]: random.normal(size=(20, 1, 4, 4, 4)).astype(np.float32)}
    corrected = correct(graph, [layer], keeps, feeds)
    plain = zeroed(graph, [layer], keeps)
    index = layer.tensor.index
    assert np.array_equal(np.asarray(corrected.values(index)), np.asarray(plain.values(index)))
