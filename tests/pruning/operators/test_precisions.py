"""The same networks in every precision: codes are sliced, scales and zero points with them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from secateur_server.pruning.graph import Graph
from support import quantized_twins
from support.slicing import assert_alike, follow, masked, without
from support.tiny_models import SAME, Array, Network, run

Keep = npt.NDArray[np.intp]


def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


SAMPLES = tuple((draw(50 + k, 1, 8, 8, 3),) for k in range(8))


def build() -> bytes:
    """Have most operators in one network: a residual, a split, padding, pools and gates."""
    net = Network()
    x = net.conv(net.input(1, 8, 8, 3), draw(1, 6, 3, 3, 3), draw(2, 6), name="first")
    x = net.op("LEAKY_RELU", x, alpha=0.1)
    y = net.depthwise(x, draw(3, 1, 3, 3, 6), draw(4, 6), activation=1)
    x = net.op("ADD", x, net.conv(y, draw(5, 6, 1, 1, 6) / 3, draw(6, 6)))
    axes = net.constant(np.array([1, 2], np.int32))
    squeezed = net.op("MEAN", x, axes, keepDims=True)
    x = net.op("MUL", x, net.op("LOGISTIC", net.conv(squeezed, draw(7, 6, 1, 1, 6))))
    x = net.op("PAD", x, net.constant(np.array([[0, 0], [1, 1], [0, 0], [0, 0]], np.int32)))
    pool: dict[str, Any] = {
        "padding": SAME,
        "strideH": 2,
        "strideW": 2,
        "filterHeight": 2,
        "filterWidth": 2,
    }
    one, other = net.op("MAX_POOL_2D", x, **pool), net.op("AVERAGE_POOL_2D", x, **pool)
    x = net.op("CONCATENATION", one, net.op("HARD_SWISH", other), axis=3)
    size = net.constant(np.array([6, 6], np.int32))
    x = net.op("RESIZE_NEAREST_NEIGHBOR", x, size)
    shape = net.constant(np.array([1, 12, 12, 5], np.int32))
    x = net.op(
        "TRANSPOSE_CONV",
        shape,
        net.constant(draw(8, 5, 3, 3, 12)),
        x,
        net.constant(draw(9, 5)),
        padding=SAME,
        strideH=2,
        strideW=2,
        name="second",
    )
    x = net.op("RESHAPE", x, net.constant(np.array([1, 720], np.int32)))
    x = net.dense(x, draw(10, 4, 720) / 20, draw(11, 4))
    return net.finish(net.op("SOFTMAX", x, beta=1.0))


TWINS: dict[str, Callable[[bytes], bytes]] = {
    "float32": lambda content: content,
    "float16": quantized_twins.float16,
    "weight only": quantized_twins.weight_only,
    "hybrid": quantized_twins.hybrid,
    "int8": lambda content: quantized_twins.int8(content, *SAMPLES),
    "uint8": lambda content: quantized_twins.uint8(content, *SAMPLES),
}


TOLERANCE = {"hybrid": 1e-2}
"""Where it is not 1e-5. A hybrid kernel rounds its input to steps of the largest number that
it sees, channels without weights included."""


@pytest.fixture(params=TWINS)
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def twin(precision: str) -> bytes:
    return TWINS[precision](build())


def test_what_is_pruned_computes_what_is_masked(twin: bytes, precision: str) -> None:
    gone = {"first": [0, 2, 5], "second": [1]}
    pruned, dropped = without(twin, gone), masked(twin, gone)
    assert len(pruned) < len(twin)
    for sample in SAMPLES:
        assert_alike(
            run(pruned, *sample), run(dropped, *sample), TOLERANCE.get(precision, 1e-5)
        )


def test_a_twin_computes_about_what_the_float_network_does(twin: bytes) -> None:
    for sample in SAMPLES:
        assert_alike(run(twin, *sample), run(build(), *sample), 0.25)


def test_codes_that_stay_are_the_codes_that_were(twin: bytes) -> None:
    before, _ = follow(twin)
    after, _ = follow(without(twin, {"first": [0, 2, 5]}))
    old, new = (_weights(graph, 0) for graph in (before, after))
    assert np.array_equal(new, old[[1, 3, 4]])
    assert before.tensors[1].dtype == after.tensors[1].dtype


def test_taking_nothing_away_changes_no_tensor(twin: bytes) -> None:
    before, after = follow(twin)[0], follow(without(twin, {}))[0]
    assert [each.kind for each in before.operators] == [each.kind for each in after.operators]
    for old, new in zip(before.tensors, after.tensors, strict=True):
        assert (old.name, old.shape, old.dtype) == (new.name, new.shape, new.dtype)
        if old.values is not None:
            assert np.array_equal(old.values, np.asarray(new.values))
    assert (
        run(without(twin, {}), *SAMPLES[0])[0].tobytes() == run(twin, *SAMPLES[0])[0].tobytes()
    )


def _weights(graph: Graph, position: int) -> Array:
    operators = [each for each in graph.operators if each.kind == "CONV_2D"]
    return np.asarray(graph.values(operators[position].inputs[1]))
