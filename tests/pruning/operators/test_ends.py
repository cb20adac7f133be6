"""Operators over all channels at once, and the ends of the network."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from secateur_server.pruning.channels import FIXED
from support.slicing import assert_alike, assert_slices, follow, without
from support.tiny_models import Array, Network, run

Keep = npt.NDArray[np.intp]
GONE = [0, 2, 5]


def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


IMAGE = draw(0, 1, 6, 6, 3)


@pytest.mark.parametrize("kind", ["SOFTMAX", "LOG_SOFTMAX", "LOGISTIC"])
def test_the_classes_stay_and_what_is_before_them_may_leave(kind: str) -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.conv(net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3)[keep], name="first")
        x = net.op("MEAN", x, net.constant(np.array([1, 2], np.int32)))
        x = net.dense(x, draw(2, 4, 6)[:, keep], draw(3, 4), name="classes")
        options: dict[str, Any] = {"beta": 1.0} if kind == "SOFTMAX" else {}
        return net.finish(net.op(kind, x, **options))

    assert_slices(build, {"first": GONE}, IMAGE)
    graph, channels = follow(build(np.arange(6)))
    assert (channels.ids(graph, graph.outputs[0], -1) == FIXED).all()


def test_channels_inside_a_softmax_stay() -> None:
    net = Network()
    x = net.conv(net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3), name="first")
    x = net.op("SOFTMAX", x, beta=1.0)
    _, channels = follow(net.finish(net.conv(x, draw(2, 4, 1, 1, 6))))
    assert {group.frozen for group in channels.groups} == {
        "SOFTMAX #1 mixes them",
        "network input or output",
    }


def test_a_norm_over_the_channels_is_the_norm_of_those_that_stay() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.conv(net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3)[keep], name="first")
        x = net.op("L2_NORMALIZATION", x)
        return net.finish(net.conv(x, draw(2, 4, 1, 1, 6)[..., keep]))

    assert_slices(build, {"first": GONE}, IMAGE, is_masked_alike=False)


def test_inputs_and_outputs_keep_their_channels() -> None:
    net = Network()
    x, z = net.input(1, 6, 6, 3), net.input(1, 6, 6, 4)
    one = net.conv(x, draw(1, 4, 1, 1, 3), name="tied to an input")
    two = net.conv(net.op("ADD", one, z), draw(2, 5, 1, 1, 4), name="an output")
    three = net.conv(two, draw(3, 6, 1, 1, 5), name="free")
    content = net.finish(two, net.conv(three, draw(4, 4, 1, 1, 6)))
    _, channels = follow(content)
    assert {group.name for group in channels.groups if not group.frozen} == {"free"}
    inputs = IMAGE, draw(5, 1, 6, 6, 4)
    pruned = without(content, {"free": [1, 2]})
    before, after = run(content, *inputs), run(pruned, *inputs)
    assert_alike(after[:1], before[:1], 1e-6)
    assert after[1].shape == before[1].shape


def test_an_unknown_operator_is_named_and_keeps_what_touches_it() -> None:
    net = Network()
    x = net.conv(net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3), name="first")
    x = net.add("Mystery", x, shapes=[(1, 6, 6, 6)], custom=b"\x01")[0]
    x = net.conv(x, draw(2, 5, 1, 1, 6), name="second")
    _, channels = follow(net.finish(net.conv(x, draw(3, 4, 1, 1, 5))))
    assert [(each.operator, each.reason) for each in channels.frozen] == [
        ("CUSTOM Mystery", "not known")
    ]
    assert {group.name for group in channels.groups if not group.frozen} == {"second"}
