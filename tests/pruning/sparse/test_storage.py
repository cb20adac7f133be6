"""Models with sparse constants, as the engine runs them."""

from pathlib import Path

import numpy as np
import pytest

from secateur_server.pruning.flatbuffer import read_model, write_model
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.sparse.rewrites import rewrite_for_sparse
from secateur_server.pruning.sparse.storage import (
    sparse_candidates,
    store_densely,
    store_sparsely,
)
from support.mobilenets import mobilenet
from support.pruned import sparse_twin, tree_of
from support.quantized_twins import float16
from support.tiny_models import Network, run

IMAGE = np.random.default_rng(6).normal(size=(1, 32, 32, 3)).astype(np.float32)


def wide() -> bytes:
    """A network with convolutions and dense layers that are worth storing sparsely."""
    random, net = np.random.default_rng(7), Network()
    x = net.input(1, 32, 32, 3)
    x = net.conv(x, random.normal(size=(32, 3, 3, 3)), stride=2)
    x = net.conv(x, random.normal(size=(48, 3, 3, 32)), stride=2)
    x = net.depthwise(x, random.normal(size=(1, 3, 3, 48)))
    x = net.op("MEAN", x, net.constant(np.array([1, 2], np.int32)))
    x = net.dense(x, random.normal(size=(200, 48)))
    return net.finish(net.dense(x, random.normal(size=(10, 200))))


@pytest.mark.parametrize("is_half", [False, True])
def test_a_sparsely_stored_model_is_smaller_and_computes_the_same(is_half: bool) -> None:  # noqa: FBT001
    dense = sparse_twin(float16(wide()) if is_half else wide(), 0.8)
    tree = tree_of(dense)
    assert store_sparsely(tree) >= 3
    sparse = write_model(tree)
    assert len(sparse) < (0.8 if is_half else 0.4) * len(dense)
    assert np.array_equal(run(sparse, IMAGE)[0], run(dense, IMAGE)[0])


def test_only_what_gets_smaller_is_stored_sparsely() -> None:
    tree = tree_of(wide())
    assert store_sparsely(tree) == 0
    assert write_model(tree) == write_model(tree_of(wide()))


def test_storing_densely_undoes_it() -> None:
    dense = sparse_twin(wide(), 0.8)
    tree = tree_of(dense)
    count = store_sparsely(tree)
    assert store_densely(tree) == count
    back = write_model(tree)
    before, after = read_graph(tree_of(dense)), read_graph(tree_of(back))
    assert [each.kind for each in before.operators] == [each.kind for each in after.operators]
    for was, now in zip(before.tensors, after.tensors, strict=False):
        assert was.values is None or np.array_equal(was.values, np.asarray(now.values))
    assert np.array_equal(run(back, IMAGE)[0], run(dense, IMAGE)[0])


def test_a_model_on_which_sparse_kernels_go_wrong_is_never_stored_sparsely() -> None:
    risky = sparse_twin(mobilenet(width=32, pools=False), 0.9)
    assert not list(sparse_candidates(tree_of(risky)))
    tree = tree_of(risky)
    rewrite_for_sparse(tree)
    assert list(sparse_candidates(tree))


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "name",
    [
        *("kws/kws_int8.tflite", "kws/kws_hybrid.tflite"),
        *("cifar10/resnet8_float32.tflite", "cifar10/resnet8_int8.tflite"),
    ],
)
def test_whatever_is_offered_can_be_stored_sparsely_and_loads(
    shared_data: Path, name: str
) -> None:
    content = read_model(shared_data / name).content
    dense = sparse_twin(content, 0.8)
    tree = tree_of(dense)
    assert store_sparsely(tree, lambda _tensor: True) > 0
    sparse = write_model(tree)
    shape = read_graph(tree_of(content)).tensors[read_graph(tree).inputs[0]].shape
    sample = np.random.default_rng(8).normal(0, 30, size=shape)
    assert np.array_equal(run(sparse, sample)[0], run(dense, sample)[0])


def test_codes_whose_zero_is_not_0_are_not_stored_sparsely() -> None:
    tree = tree_of(sparse_twin(wide(), 0.8))
    names = {each.name for each in sparse_candidates(tree)}
    stored = next(
        each for each in tree.subgraphs[0].tensors if each.name.decode() == min(names)
    )
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415 - here only

    stored.quantization = schema.QuantizationParametersT()
    stored.quantization.scale = np.array([0.1], np.float32)
    stored.quantization.zeroPoint = np.array([3], np.int64)
    left = {each.name for each in sparse_candidates(tree)}
    assert left == names - {min(names)}
