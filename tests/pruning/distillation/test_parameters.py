"""What is learned gets into the graph as it was judged."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from secateur_server.pruning.apply import apply
from secateur_server.pruning.distillation.options import DistillOptions
from secateur_server.pruning.distillation.parameters import (
    as_stored,
    sizes,
    trainable,
    with_parameters,
)
from secateur_server.pruning.distillation.training import distill
from secateur_server.pruning.flatbuffer import read_model, write_model
from secateur_server.pruning.graph import Graph, read_graph
from secateur_server.pruning.linear import layout
from secateur_server.pruning.measurement import load, outputs
from secateur_server.pruning.samples import Samples
from support.lone_operators import lone_operator

MODELS = ["kws/kws_int8.tflite", "kws/kws_hybrid.tflite", "cifar10/resnet8_int8.tflite"]


def test_constants_that_stand_for_an_activation_stay() -> None:
    graph = lone_operator(
        "MUL", [(1, 4, 5), np.array([1 / 6], np.float32)], [(1, 4, 5)], "MulOptions"
    )
    assert trainable(graph) == {}
    graph = lone_operator("PRELU", [(1, 4, 5), np.ones((1, 5), np.float32)], [(1, 4, 5)])
    assert list(trainable(graph)) == [1]


def test_a_bias_is_as_large_as_what_it_is_added_to(teacher: Graph) -> None:
    outputs = dict.fromkeys(range(len(teacher.operators)), 7.0)
    found = sizes(teacher, trainable(teacher), outputs, keep_zeros=False)
    for operator in teacher.operators:
        if operator.kind == "CONV_2D":
            weights, bias = (teacher.tensors[k] for k in operator.inputs[1:3])
            assert weights.values is not None
            rms = np.sqrt(np.mean(np.square(weights.values)))
            assert found[weights.storage] == pytest.approx(rms, rel=1e-5)
            assert found[bias.storage] == 7.0


@pytest.mark.shared_data
@pytest.mark.parametrize("name", MODELS)
def test_a_quantized_student_is_judged_as_it_is_stored(shared_data: Path, name: str) -> None:
    graph = read_graph(read_model(shared_data / name).tree())
    chance = np.random.default_rng(0)
    moved = {
        key: (values * chance.uniform(0.5, 1.5, values.shape)).astype(np.float32)
        for key, values in trainable(graph).items()
    }
    seen = as_stored(graph, {key: jnp.asarray(values) for key, values in moved.items()})
    after = with_parameters(graph, moved)
    for operator in after.operators:
        if operator.kind in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}:
            weights = after.tensors[operator.inputs[layout(operator).weights]]
            assert weights.values is not None
            np.testing.assert_allclose(
                seen[weights.storage], weights.values, rtol=1e-3, atol=1e-5
            )


@pytest.mark.shared_data
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS[:2])
def test_a_quantized_model_stays_what_it_is_and_runs_closer_to_its_teacher(
    shared_data: Path, name: str
) -> None:
    source = read_model(shared_data / name)
    teacher = read_graph(source.tree())
    with np.load(shared_data / "kws" / "kws01.npz") as arrays:
        x = arrays["x"]
    x = x if "int8" in name else (x.astype(np.float32) - 83) * np.float32(0.5847029)
    chance = np.random.default_rng(0)
    hurt = with_parameters(
        teacher,
        {
            key: (values * (1 + 0.3 * chance.standard_normal(values.shape))).astype(np.float32)
            for key, values in trainable(teacher).items()
        },
    )
    done = distill(teacher, hurt, (x[:400],), DistillOptions(steps=40))
    assert done.best_step > 0

    def answers(graph: Graph) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
        tree = source.tree()
        apply(tree, teacher, graph)
        found, *_ = outputs(load(write_model(tree), 1), Samples((x[400:600],), None))
        return np.asarray(found.reshape(200, -1).argmax(axis=1))

    wanted = answers(teacher)
    assert np.mean(answers(done.graph) == wanted) > np.mean(answers(hurt) == wanted)
    kinds = [(tensor.dtype, tensor.shape) for tensor in done.graph.tensors]
    assert kinds == [(tensor.dtype, tensor.shape) for tensor in teacher.tensors]
