"""Eligibility for sparse kernels, and the rewrites that lead there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur_server.pruning.flatbuffer import read_model, write_model
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.sparse.eligibility import assess, may_go_wrong
from secateur_server.pruning.sparse.rewrites import rewrite_for_sparse
from secateur_server.pruning.sparse.roles import Rewrite
from support.mobilenets import mobilenet
from support.pruned import graph_of, sparse_twin, tree_of
from support.quantized_twins import float16
from support.tiny_models import Network, run

MODELS = [
    "kws/kws_int8.tflite",
    "kws/kws_hybrid.tflite",
    "cifar10/resnet8_float32.tflite",
    "cifar10/resnet8_int8.tflite",
]


def rewritten(content: bytes, *, with_stem: bool = False) -> tuple[bytes, list[str]]:
    tree = tree_of(content)
    done = rewrite_for_sparse(tree, with_stem=with_stem)
    return write_model(tree), done


def images(size: int, count: int = 4) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(count, 1, size, size, 3)).astype(np.float32)


def largest_difference(one: bytes, other: bytes, size: int) -> float:
    return max(
        float(np.abs(run(one, image)[0] - run(other, image)[0]).max()) for image in images(size)
    )


@pytest.mark.shared_data
@pytest.mark.parametrize("name", MODELS)
def test_no_shared_model_is_eligible_as_it_is(shared_data: Path, name: str) -> None:
    tree = read_model(shared_data / name).tree()
    found = assess(read_graph(tree))
    assert not found.is_possible
    assert found.obstacles
    rewrite_for_sparse(tree)
    assert not assess(read_graph(tree)).is_possible


def test_every_operator_in_the_way_is_named_with_its_rewrite() -> None:
    found = assess(graph_of(mobilenet()))
    assert [(each.kind, each.rewrite) for each in found.obstacles] == [
        ("DEPTHWISE_CONV_2D", Rewrite.EXPLICIT_PADDING),
        ("DEPTHWISE_CONV_2D", Rewrite.EXPLICIT_PADDING),
        ("AVERAGE_POOL_2D", Rewrite.POOL_TO_MEAN),
    ]
    assert len(found.pointwise) == 4


@pytest.mark.parametrize("size", [32, 31, 30, 29])
@pytest.mark.parametrize("pools", [True, False])
def test_a_mobilenet_becomes_eligible_and_computes_the_same(size: int, pools: bool) -> None:  # noqa: FBT001
    before = sparse_twin(mobilenet(size, pools=pools), 0.7, {"CONV_2D"})
    assert not assess(graph_of(before)).is_possible
    after, done = rewritten(before)
    assert assess(graph_of(after)).is_eligible
    assert not may_go_wrong(graph_of(after))
    assert len(done) == 3 + pools
    assert largest_difference(before, after, size) < 1e-6


def test_two_thirds_of_zeros_are_not_enough() -> None:
    exactly, more = (
        assess(graph_of(rewritten(sparse_twin(mobilenet(), share, {"CONV_2D"}))[0]))
        for share in (2 / 3, 0.7)
    )
    assert exactly.is_possible
    assert exactly.zeros_ratio == pytest.approx(2 / 3, abs=1e-3)
    assert not exactly.is_eligible
    assert more.is_eligible


def test_a_rewritten_model_is_left_alone() -> None:
    after, _ = rewritten(mobilenet())
    assert rewritten(after) == (after, [])


def test_a_same_padded_stem_on_an_odd_image_is_rewritten_exactly() -> None:
    before = mobilenet(31, pads_stem=False)
    after, done = rewritten(before)
    assert done[0] == "explicit-padding: CONV_2D #0"
    assert assess(graph_of(after)).is_possible
    assert largest_difference(before, after, 31) < 1e-6


def test_a_same_padded_stem_on_an_even_image_is_shifted_only_on_request() -> None:
    before = mobilenet(32, pads_stem=False)
    after, _ = rewritten(before)
    assert [each.rewrite for each in assess(graph_of(after)).obstacles] == [
        Rewrite.SHIFTED_STEM
    ]
    shifted, done = rewritten(before, with_stem=True)
    assert "shifted-stem: CONV_2D #0" in done
    assert assess(graph_of(shifted)).is_possible


def test_a_shifted_stem_is_exact_but_for_the_first_row_and_column() -> None:
    random, net = np.random.default_rng(2), Network()
    x = net.input(1, 16, 16, 3)
    x = net.conv(x, random.normal(size=(4, 3, 3, 3)), random.normal(size=4), stride=2)
    y = net.conv(x, random.normal(size=(4, 1, 1, 4)))
    x = net.op("MEAN", y, net.constant(np.array([1, 2], np.int32)), keepDims=True)
    before = net.finish(x, y)
    tree = tree_of(before)
    tree.subgraphs[0].outputs = np.array([x], np.int32)
    rewrite_for_sparse(tree, with_stem=True)
    tree.subgraphs[0].outputs = np.array([x, y], np.int32)
    image = images(16, 1)[0]
    was, now = run(before, image)[1], run(write_model(tree), image)[1]
    assert np.allclose(was[:, 1:, 1:], now[:, 1:, 1:], atol=1e-5)
    assert not np.allclose(was, now, atol=1e-3)


def test_keras_padding_before_a_depthwise_convolution_is_rewritten_exactly() -> None:
    random, net = np.random.default_rng(3), Network()
    x = net.input(1, 12, 12, 3)
    pad = net.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    x = net.conv(net.op("PAD", x, pad), random.normal(size=(4, 3, 3, 3)), stride=2, padding=1)
    late = net.constant(np.array([[0, 0], [0, 1], [0, 1], [0, 0]], np.int32))
    x = net.depthwise(net.op("PAD", x, late), random.normal(size=(1, 3, 3, 4)), stride=2)
    net.graph.operators[-1].builtinOptions.padding = 1
    net.graph.tensors[x].shape = np.array([1, 3, 3, 4], np.int32)
    x = net.conv(x, random.normal(size=(4, 1, 1, 4)))
    before = net.finish(
        net.op("MEAN", x, net.constant(np.array([1, 2], np.int32)), keepDims=True)
    )
    after, done = rewritten(before)
    assert done == ["explicit-padding: DEPTHWISE_CONV_2D #3"]
    assert assess(graph_of(after)).is_possible
    assert largest_difference(before, after, 12) < 1e-6


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        (
            "MAX_POOL_2D",
            {"filterHeight": 2, "filterWidth": 2, "strideH": 2, "strideW": 2},
            "no",
        ),
        ("RESHAPE", {}, "no"),
    ],
)
def test_one_operator_that_does_not_know_the_order_keeps_all_dense(
    kind: str, options: dict[str, Any], reason: str
) -> None:
    random, net = np.random.default_rng(4), Network()
    x = net.input(1, 16, 16, 3)
    pad = net.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    x = net.conv(net.op("PAD", x, pad), random.normal(size=(4, 3, 3, 3)), stride=2, padding=1)
    x = net.conv(x, random.normal(size=(4, 1, 1, 4)))
    more = [net.constant(np.array([1, 4, 16, 4], np.int32))] if kind == "RESHAPE" else []
    x = net.op(kind, x, *more, **options)
    x = net.conv(x, random.normal(size=(4, 1, 1, 4)))
    axes = net.constant(np.array([1, 2], np.int32))
    found = assess(graph_of(net.finish(net.op("MEAN", x, axes, keepDims=True))))
    (obstacle,) = found.obstacles
    assert obstacle.kind == kind
    assert reason in obstacle.reason
    assert obstacle.rewrite is None


def test_a_model_with_float16_weights_is_rewritten_too() -> None:
    before = float16(mobilenet())
    after, done = rewritten(before)
    assert len(done) == 4
    assert assess(graph_of(after)).is_possible
    assert largest_difference(before, after, 32) < 1e-6
