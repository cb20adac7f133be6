"""Operators that change height, width or batch: the channels pass them as they are."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from support.slicing import assert_slices
from support.tiny_models import SAME, VALID, Array, Network

Keep = npt.NDArray[np.intp]
GONE = [0, 2, 5]


def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


IMAGE = draw(0, 1, 6, 6, 3)


def between(middle: Callable[[Network, int], int]) -> Callable[[Keep], bytes]:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.conv(
            net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3)[keep], draw(2, 6)[keep], name="first"
        )
        return net.finish(net.conv(middle(net, x), draw(3, 4, 3, 3, 6)[..., keep]))

    return build


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"])
@pytest.mark.parametrize("padding", [SAME, VALID])
def test_channels_pass_a_pool(kind: str, padding: int) -> None:
    def middle(net: Network, x: int) -> int:
        return net.op(
            kind, x, padding=padding, strideH=2, strideW=1, filterHeight=3, filterWidth=2
        )

    assert_slices(between(middle), {"first": GONE}, IMAGE)


@pytest.mark.parametrize("kind", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize("half_pixel", [False, True])
def test_channels_pass_a_change_of_size(kind: str, half_pixel: bool) -> None:  # noqa: FBT001
    def middle(net: Network, x: int) -> int:
        size = net.constant(np.array([11, 4], np.int32))
        return net.op(kind, x, size, halfPixelCenters=half_pixel)

    assert_slices(between(middle), {"first": GONE}, IMAGE)


@pytest.mark.parametrize("kind", ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
@pytest.mark.parametrize("axes", [[1, 2], [-2, -3]])
def test_channels_pass_a_mean_over_the_image(kind: str, axes: list[int]) -> None:
    def middle(net: Network, x: int) -> int:
        return net.op(kind, x, net.constant(np.array(axes, np.int32)), keepDims=True)

    assert_slices(between(middle), {"first": GONE}, IMAGE)


def test_a_mean_that_drops_its_axes_hands_the_channels_to_a_dense_layer() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.conv(net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3)[keep], name="first")
        x = net.op("MEAN", x, net.constant(np.array([1, 2], np.int32)))
        return net.finish(net.dense(x, draw(3, 4, 6)[:, keep], draw(4, 4)))

    assert_slices(build, {"first": GONE}, IMAGE)


@pytest.mark.parametrize("kind", ["MEAN", "SUM", "REDUCE_MAX"])
def test_what_is_taken_over_the_channels_is_taken_of_those_that_stay(kind: str) -> None:
    def middle(net: Network, x: int) -> int:
        mean = net.op(kind, x, net.constant(np.array([3], np.int32)), keepDims=True)
        return net.op("SUB", x, mean)

    assert_slices(between(middle), {"first": GONE}, IMAGE, is_masked_alike=False)


def test_a_layer_normalization_follows_its_channels() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.dense(net.input(1, 7, 5), draw(1, 6, 5)[keep], name="first", keep_axes=True)
        last = net.constant(np.array([-1], np.int32))
        centred = net.op("SUB", x, net.op("MEAN", x, last, keepDims=True))
        spread = net.op("MEAN", net.op("SQUARE", centred), last, keepDims=True)
        scale = net.op("RSQRT", net.op("ADD", spread, net.constant(np.float32(1e-3))))
        x = net.op("MUL", net.op("MUL", centred, scale), net.constant(draw(2, 6)[keep]))
        x = net.op("ADD", x, net.constant(draw(3, 6)[keep]))
        return net.finish(net.dense(x, draw(4, 4, 6)[:, keep], keep_axes=True))

    assert_slices(build, {"first": GONE}, draw(5, 1, 7, 5), is_masked_alike=False)


def test_channels_pass_the_old_way_of_dilating() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.conv(net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3)[keep], name="first")
        block = net.constant(np.array([2, 2], np.int32))
        nothing = net.constant(np.zeros((2, 2), np.int32))
        x = net.op("SPACE_TO_BATCH_ND", x, block, nothing)
        x = net.depthwise(x, draw(2, 1, 3, 3, 6)[..., keep], draw(3, 6)[keep])
        x = net.op("BATCH_TO_SPACE_ND", x, block, nothing)
        return net.finish(net.conv(x, draw(4, 4, 1, 1, 6)[..., keep]))

    assert_slices(build, {"first": GONE}, IMAGE)


def test_a_signal_as_an_image_of_height_one() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        axis = net.constant(np.array(1, np.int32))
        x = net.op("EXPAND_DIMS", net.input(1, 12, 3), axis)
        x = net.conv(x, draw(1, 6, 1, 3, 3)[keep], draw(2, 6)[keep], name="first")
        x = net.op("EXPAND_DIMS", net.op("SQUEEZE", x, squeezeDims=np.array([1])), axis)
        x = net.op("SQUEEZE", net.conv(x, draw(3, 4, 1, 3, 6)[..., keep]), squeezeDims=[1])
        return net.finish(x)

    assert_slices(build, {"first": GONE}, draw(5, 1, 12, 3))
