"""Operators with weights: a channel leaves with its filter, its bias and what reads it."""

import numpy as np
import numpy.typing as npt
import pytest

from support.slicing import assert_slices, follow, without
from support.tiny_models import RELU, SAME, VALID, Array, Network, run

Keep = npt.NDArray[np.intp]
GONE = [1, 3, 4]


def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


IMAGE = draw(0, 1, 8, 8, 3)


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_a_convolution_loses_filters_and_its_consumer_their_inputs(
    stride: int, dilation: int, padding: int
) -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.input(1, 8, 8, 3)
        x = net.conv(
            x,
            draw(1, 6, 3, 3, 3)[keep],
            draw(2, 6)[keep],
            name="first",
            stride=stride,
            dilation=dilation,
            padding=padding,
            activation=RELU,
        )
        x = net.conv(x, draw(3, 4, 3, 3, 6)[..., keep], draw(4, 4), padding=SAME)
        return net.finish(x)

    assert_slices(build, {"first": GONE}, IMAGE)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_a_depthwise_convolution_follows_its_input(multiplier: int) -> None:
    def build(keep: Keep) -> bytes:
        wide = (keep[:, None] * multiplier + np.arange(multiplier)).ravel()
        net = Network()
        x = net.conv(net.input(1, 8, 8, 3), draw(1, 6, 3, 3, 3)[keep], name="first")
        x = net.depthwise(
            x,
            draw(2, 1, 3, 3, 6 * multiplier)[..., wide],
            draw(3, 6 * multiplier)[wide],
            stride=2,
        )
        return net.finish(net.conv(x, draw(4, 4, 1, 1, 6 * multiplier)[..., wide]))

    assert_slices(build, {"first": GONE}, IMAGE)


def test_a_depthwise_convolution_of_one_channel_makes_channels_of_its_own() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.depthwise(
            net.input(1, 8, 8, 1),
            draw(1, 1, 3, 3, 6)[..., keep],
            draw(2, 6)[keep],
            name="first",
            stride=2,
            activation=RELU,
        )
        return net.finish(net.conv(x, draw(3, 4, 1, 1, 6)[..., keep]))

    assert_slices(build, {"first": GONE}, draw(9, 1, 8, 8, 1))


def test_dense_layers_lose_neurons() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.dense(
            net.input(1, 5),
            draw(1, 6, 5)[keep],
            draw(2, 6)[keep],
            name="first",
            activation=RELU,
        )
        return net.finish(net.dense(x, draw(3, 4, 6)[:, keep], draw(4, 4)))

    assert_slices(build, {"first": GONE}, draw(5, 1, 5))


@pytest.mark.parametrize("keep_axes", [True, False])
def test_dense_layers_work_on_the_last_of_three_axes(keep_axes: bool) -> None:  # noqa: FBT001
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.dense(
            net.input(1, 7, 5), draw(1, 6, 5)[keep], name="first", keep_axes=keep_axes
        )
        return net.finish(net.dense(x, draw(3, 4, 6)[:, keep], draw(4, 4), keep_axes=True))

    assert_slices(build, {"first": GONE}, draw(5, 1, 7, 5))


def test_a_dense_layer_flattens_an_image_itself() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.conv(net.input(1, 4, 4, 3), draw(1, 6, 3, 3, 3)[keep], name="first", stride=2)
        flat = (np.arange(4)[:, None] * 6 + keep).ravel()
        return net.finish(net.dense(x, draw(2, 5, 24)[:, flat], draw(3, 5)))

    assert_slices(build, {"first": GONE}, draw(4, 1, 4, 4, 3))


@pytest.mark.parametrize("padding", [SAME, VALID])
def test_a_transposed_convolution_loses_filters_and_inputs(padding: int) -> None:
    size = 8 if padding == SAME else 9

    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.conv(net.input(1, 4, 4, 3), draw(1, 6, 3, 3, 3), name="before")
        shape = np.array([1, size, size, len(keep)], np.int32)
        x = net.op(
            "TRANSPOSE_CONV",
            net.constant(shape),
            net.constant(draw(2, 6, 3, 3, 6)[keep]),
            x,
            net.constant(draw(3, 6)[keep]),
            name="first",
            padding=padding,
            strideH=2,
            strideW=2,
        )
        return net.finish(net.conv(x, draw(4, 4, 1, 1, 6)[..., keep]))

    assert_slices(build, {"first": GONE}, draw(5, 1, 4, 4, 3))


def test_a_transposed_convolution_loses_inputs() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.conv(net.input(1, 4, 4, 3), draw(1, 6, 3, 3, 3)[keep], name="first")
        x = net.op(
            "TRANSPOSE_CONV",
            net.constant(np.array([1, 8, 8, 5], np.int32)),
            net.constant(draw(2, 5, 3, 3, 6)[..., keep]),
            x,
            padding=SAME,
            strideH=2,
            strideW=2,
        )
        return net.finish(x)

    assert_slices(build, {"first": GONE}, draw(5, 1, 4, 4, 3))


def upsampler(keep: Keep, *, channels_asked_of: int | None = None) -> bytes:
    """Take the batch from the input, as converters write a batch of any size."""
    net = Network()
    x = net.input(-1, 4, 4, 6)
    asked = net.op("SHAPE", x, outType=2)
    batch, computed = (
        net.op(
            "STRIDED_SLICE",
            asked,
            *(net.constant(np.array([k], np.int32)) for k in (axis, axis + 1, 1)),
            shrinkAxisMask=1,
        )
        for axis in (0, 3)
    )
    height, width, stated = (net.constant(np.array(k, np.int32)) for k in (8, 8, len(keep)))
    channels = stated if channels_asked_of is None else computed
    shape = net.op("PACK", batch, height, width, channels, valuesCount=4)
    x = net.conv(x, draw(1, 6, 3, 3, 6))
    x = net.add(
        "TRANSPOSE_CONV",
        shape,
        net.constant(draw(2, 6, 3, 3, 6)[keep]),
        x,
        net.constant(draw(3, 6)[keep]),
        name="first",
        shapes=[(1, 8, 8, len(keep))],
        padding=SAME,
        strideH=2,
        strideW=2,
    )[0]
    return net.finish(net.conv(x, draw(3, 4, 1, 1, 6)[..., keep]))


def test_a_transposed_convolution_whose_size_is_packed_is_followed() -> None:
    assert_slices(upsampler, {"first": GONE}, draw(5, 1, 4, 4, 6))


def test_a_transposed_convolution_whose_channels_are_computed_keeps_them() -> None:
    graph, channels = follow(upsampler(np.arange(6), channels_asked_of=3))
    reasons = {group.name: group.frozen for group in channels.groups}
    assert "shape is computed" in reasons["first"]
    assert graph.outputs


@pytest.mark.parametrize("transposed", [False, True])
def test_a_matrix_product_with_constant_weights_loses_columns_and_rows(
    transposed: bool,  # noqa: FBT001
) -> None:
    def weights(seed: int, rows: Keep, columns: Keep) -> Array:
        matrix = draw(seed, 1, 6, 6)[:, rows][:, :, columns]
        return matrix.swapaxes(1, 2) if transposed else matrix

    def build(keep: Keep) -> bytes:
        net, every = Network(), np.arange(6)
        x = net.op(
            "BATCH_MATMUL",
            net.input(1, 7, 6),
            net.constant(weights(1, every, keep)),
            name="first",
            adjY=transposed,
        )
        x = net.op("RELU", x)
        x = net.op("BATCH_MATMUL", x, net.constant(weights(2, keep, every)), adjY=transposed)
        return net.finish(x)

    assert_slices(build, {"first": GONE}, draw(5, 1, 7, 6))


def test_a_product_of_two_computed_matrices_drops_what_both_lose() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.input(1, 7, 5)
        query = net.dense(x, draw(1, 6, 5)[keep], name="first", keep_axes=True)
        key = net.dense(x, draw(2, 6, 5)[keep], draw(3, 6)[keep], keep_axes=True)
        scores = net.op("BATCH_MATMUL", query, key, adjY=True)
        value = net.dense(x, draw(4, 4, 5), name="value", keep_axes=True)
        mixed = net.op("BATCH_MATMUL", net.op("SOFTMAX", scores, beta=1.0), value)
        return net.finish(net.dense(mixed, draw(5, 3, 4), keep_axes=True))

    assert_slices(build, {"first": GONE}, draw(6, 1, 7, 5), is_masked_alike=False)
    assert_slices(
        lambda keep: build(np.arange(6)) if len(keep) == 6 else _with_two_values(),
        {"value": [0, 3]},
        draw(6, 1, 7, 5),
    )


def _with_two_values() -> bytes:
    net, keep = Network(), [1, 2]
    x = net.input(1, 7, 5)
    query = net.dense(x, draw(1, 6, 5), name="first", keep_axes=True)
    key = net.dense(x, draw(2, 6, 5), draw(3, 6), keep_axes=True)
    scores = net.op("BATCH_MATMUL", query, key, adjY=True)
    value = net.dense(x, draw(4, 4, 5)[keep], name="value", keep_axes=True)
    mixed = net.op("BATCH_MATMUL", net.op("SOFTMAX", scores, beta=1.0), value)
    return net.finish(net.dense(mixed, draw(5, 3, 4)[:, keep], keep_axes=True))


def test_weights_that_two_layers_share_are_sliced_once_and_alike() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x, z = net.input(1, 5), net.input(1, 5)
        weights, bias = net.constant(draw(1, 6, 5)[keep]), net.constant(draw(2, 6)[keep])
        one = net.op("FULLY_CONNECTED", x, weights, bias, name="first")
        other = net.op("FULLY_CONNECTED", z, weights, bias)
        both = net.op("CONCATENATION", one, other, axis=1)
        twice = np.concatenate([keep, keep + 6])
        return net.finish(net.dense(both, draw(3, 4, 12)[:, twice]))

    assert_slices(build, {"first": GONE}, draw(5, 1, 5), draw(6, 1, 5))


def test_a_buffer_that_two_layers_share_is_copied_before_one_is_sliced() -> None:
    weights = draw(1, 6, 6)

    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.dense(net.input(1, 6), weights[keep], name="first")
        other = net.constant(weights[:, keep])
        if len(keep) == 6:
            net.graph.tensors[other].buffer = net.graph.tensors[1].buffer
        return net.finish(net.op("FULLY_CONNECTED", x, other))

    assert_slices(build, {"first": GONE}, draw(5, 1, 6))


def test_a_grouped_convolution_keeps_its_channels() -> None:
    net = Network()
    x = net.conv(net.input(1, 4, 4, 3), draw(1, 6, 3, 3, 3), name="first")
    x = net.conv(x, draw(2, 4, 3, 3, 3), name="second")
    _, channels = follow(net.finish(net.conv(x, draw(3, 4, 1, 1, 4))))
    reasons = {group.name: group.frozen for group in channels.groups}
    assert "grouped" in reasons["first"]


def test_a_layer_on_another_axis_than_the_channels_never_breaks_the_model() -> None:
    net = Network()
    x = net.dense(net.input(1, 7, 5), draw(1, 6, 5), name="first", keep_axes=True)
    turned = net.op("TRANSPOSE", x, net.constant(np.array([0, 2, 1], np.int32)))
    mixed = net.dense(turned, draw(2, 8, 7), name="tokens", keep_axes=True)
    mixed = net.dense(mixed, draw(3, 7, 8), keep_axes=True)
    back = net.op("TRANSPOSE", mixed, net.constant(np.array([0, 2, 1], np.int32)))
    content = net.finish(net.dense(back, draw(4, 3, 6), keep_axes=True))
    _, channels = follow(content)
    assert {group.name for group in channels.groups if not group.frozen} == {"tokens"}
    pruned = without(content, {"tokens": [0, 5]})
    assert run(pruned, draw(5, 1, 7, 5))[0].shape == (1, 7, 3)
