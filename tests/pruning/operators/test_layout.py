"""Operators that move elements: the channels go with them."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from support.slicing import assert_slices, follow, without
from support.tiny_models import Array, Network, run

Keep = npt.NDArray[np.intp]
GONE = [0, 2, 5]


def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


IMAGE = draw(0, 1, 6, 6, 3)


def begin(net: Network, keep: Keep) -> int:
    weights, bias = draw(1, 6, 3, 3, 3)[keep], draw(2, 6)[keep]
    return net.conv(net.input(1, 6, 6, 3), weights, bias, name="first")


def between(middle: Callable[[Network, int, int], int]) -> Callable[[Keep], bytes]:
    """Put something between two convolutions; it is told how many channels there are."""

    def build(keep: Keep) -> bytes:
        net = Network()
        x = middle(net, begin(net, keep), len(keep))
        return net.finish(net.conv(x, draw(3, 4, 1, 1, 6)[..., keep]))

    return build


def ints(net: Network, *values: int) -> int:
    return net.constant(np.array(values, np.int32))


@pytest.mark.parametrize("kind", ["PAD", "PADV2", "MIRROR_PAD"])
def test_channels_pass_padding_of_the_image(kind: str) -> None:
    def middle(net: Network, x: int, _count: int) -> int:
        paddings = net.constant(np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32))
        value = (net.constant(np.float32(1.5)),) if kind == "PADV2" else ()
        return net.op(kind, x, paddings, *value)

    assert_slices(between(middle), {"first": GONE}, IMAGE)


@pytest.mark.parametrize("kind", ["PAD", "PADV2"])
def test_channels_added_by_padding_stay_where_nothing_joins_them(kind: str) -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        paddings = net.constant(np.array([[0, 0], [0, 0], [0, 0], [1, 2]], np.int32))
        value = (net.constant(np.float32(1.5)),) if kind == "PADV2" else ()
        x = net.op(kind, begin(net, keep), paddings, *value)
        wide = np.array([0, *(keep + 1), 7, 8])
        return net.finish(net.conv(x, draw(3, 4, 1, 1, 9)[..., wide]))

    assert_slices(build, {"first": GONE}, IMAGE)


def test_a_shortcut_that_is_padded_to_more_channels_loses_padding_too() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = begin(net, keep[keep < 6])
        added = int((keep >= 6).sum())
        paddings = net.constant(np.array([[0, 0], [0, 0], [0, 0], [0, added]], np.int32))
        y = net.conv(x, draw(4, 9, 3, 3, 6)[keep][..., keep[keep < 6]], name="wide")
        x = net.op("ADD", net.op("PAD", x, paddings), y)
        return net.finish(net.conv(x, draw(3, 4, 1, 1, 9)[..., keep]))

    _, channels = follow(build(np.arange(9)))
    # Of the six that the shortcut has, one stays whatever the other nine do.
    assert [group.size for group in channels.groups if not group.frozen] == [8]
    assert_slices(build, {"wide": [1, 2, 5, 6, 8]}, IMAGE, size=9)


@pytest.mark.parametrize("axis", [3, -1])
def test_concatenated_channels_leave_at_their_own_offset(axis: int) -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = begin(net, keep)
        before = net.conv(0, draw(4, 2, 1, 1, 3))
        after = net.conv(0, draw(5, 3, 1, 1, 3), name="after")
        x = net.op("CONCATENATION", before, x, after, x, axis=axis)
        wide = np.array([0, 1, *(keep + 2), 8, 9, 10, *(keep + 11)])
        return net.finish(net.conv(x, draw(3, 4, 1, 1, 17)[..., wide]))

    assert_slices(build, {"first": GONE}, IMAGE)


def test_what_is_concatenated_along_another_axis_is_tied() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = begin(net, keep)
        other = net.conv(0, draw(4, 6, 1, 1, 3)[keep])
        x = net.op("CONCATENATION", x, other, axis=2)
        return net.finish(net.conv(x, draw(3, 4, 1, 1, 6)[..., keep]))

    assert_slices(build, {"first": GONE}, IMAGE)


def test_equal_parts_of_a_split_stay_equal() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        both = np.concatenate([keep, keep + 6])
        x = net.conv(net.input(1, 6, 6, 3), draw(1, 12, 3, 3, 3)[both], name="first")
        one, other = net.add("SPLIT", net.constant(np.int32(3)), x, count=2, numSplits=2)
        gated = net.op("MUL", one, net.op("LOGISTIC", other))
        return net.finish(net.conv(gated, draw(3, 4, 1, 1, 6)[..., keep]))

    assert_slices(build, {"first": GONE}, IMAGE)


@pytest.mark.parametrize("axis", [3, -1])
def test_written_sizes_of_a_split_are_written_anew(axis: int) -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        sizes = [int((keep < 2).sum()), int((keep >= 2).sum())]
        x = begin(net, keep)
        parts = net.add(
            "SPLIT_V", x, ints(net, *sizes), net.constant(np.int32(axis)), count=2, numSplits=2
        )
        first = net.conv(parts[0], draw(3, 4, 1, 1, 6)[..., keep[keep < 2]])
        second = net.conv(parts[1], draw(3, 4, 1, 1, 6)[..., keep[keep >= 2]])
        return net.finish(first, second)

    assert_slices(build, {"first": [1, 3, 5]}, IMAGE)


@pytest.mark.parametrize("way", ["SLICE", "STRIDED_SLICE"])
def test_a_slice_of_the_channels_moves_with_those_before_it(way: str) -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = begin(net, keep)
        first, last = int((keep < 2).sum()), int((keep < 5).sum())
        if way == "SLICE":
            at, size = ints(net, 0, 1, 0, first), ints(net, 1, 4, -1, last - first)
            part = net.op("SLICE", x, at, size)
        else:
            at, end = ints(net, 0, 1, 0, first), ints(net, 1, 5, 9, last)
            part = net.op("STRIDED_SLICE", x, at, end, ints(net, 1, 1, 1, 1), beginMask=1)
        used = keep[(keep >= 2) & (keep < 5)]
        part = net.conv(part, draw(3, 4, 1, 1, 6)[..., used])
        return net.finish(part, net.conv(x, draw(4, 4, 1, 1, 6)[..., keep]))

    assert_slices(build, {"first": [0, 3, 5]}, IMAGE)


def test_a_part_of_the_channels_never_becomes_empty() -> None:
    net = Network()
    x = begin(net, np.arange(6))
    part = net.op("SLICE", x, ints(net, 0, 0, 0, 2), ints(net, 1, 6, 6, 1))
    gated = net.op("MUL", x, part)
    content = net.finish(net.conv(gated, draw(3, 4, 1, 1, 6)))
    graph, channels = follow(content)
    (group,) = (group for group in channels.groups if not group.frozen)
    assert group.size == 5
    pruned = without(content, {"first": [0, 1, 3, 4, 5]})
    assert run(pruned, IMAGE)[0].shape == (1, 6, 6, 4)
    assert graph.inputs


def test_an_image_that_is_flattened_hands_its_channels_to_a_dense_layer() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.op("RESHAPE", begin(net, keep), ints(net, -1, 36 * len(keep)))
        flat = (np.arange(36)[:, None] * 6 + keep).ravel()
        return net.finish(net.dense(x, draw(3, 4, 216)[:, flat], draw(4, 4)))

    assert_slices(build, {"first": GONE}, IMAGE)


def test_a_dense_layer_hands_its_neurons_to_an_image() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        wide = (np.arange(9)[:, None] * 6 + keep).ravel()
        x = net.dense(net.input(1, 5), draw(1, 54, 5)[wide], name="first")
        x = net.op("RESHAPE", x, ints(net, 1, 3, 3, len(keep)), newShape=[1, 3, 3, len(keep)])
        return net.finish(net.conv(x, draw(3, 4, 3, 3, 6)[..., keep]))

    assert_slices(build, {"first": GONE}, draw(4, 1, 5))


def test_a_vector_without_a_batch_axis_is_followed() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.op("MEAN", begin(net, keep), ints(net, 1, 2))
        x = net.op("RESHAPE", x, ints(net, len(keep)))
        x = net.op("RESHAPE", net.op("RELU", x), ints(net, 1, len(keep)))
        return net.finish(net.dense(x, draw(3, 4, 6)[:, keep]))

    assert_slices(build, {"first": GONE}, IMAGE)


def test_a_reshape_whose_shape_is_in_its_options_is_written_anew() -> None:
    def middle(net: Network, x: int, count: int) -> int:
        x = net.op("RESHAPE", x, newShape=np.array([1, 36, count], np.int32))
        return net.op("RESHAPE", x, newShape=np.array([1, 6, 6, count], np.int32))

    assert_slices(between(middle), {"first": GONE}, IMAGE)


@pytest.mark.parametrize("asks_channels", [False, True])
def test_a_reshape_whose_shape_is_packed(asks_channels: bool) -> None:  # noqa: FBT001
    def middle(net: Network, x: int, count: int) -> int:
        asked = net.op("SHAPE", x, outType=2)

        def length(axis: int) -> int:
            span = (ints(net, k) for k in (axis, axis + 1, 1))
            return net.op("STRIDED_SLICE", asked, *span, shrinkAxisMask=1)

        batch = length(0)
        rest = [net.constant(np.int32(6)), net.constant(np.int32(6))]
        last = length(3) if asks_channels else net.constant(np.int32(count))
        shape = net.op("PACK", batch, *rest, last, valuesCount=4)
        return net.add("RESHAPE", x, shape, shapes=[(1, 6, 6, count)])[0]

    if not asks_channels:
        assert_slices(between(middle), {"first": GONE}, IMAGE)
        return
    _, channels = follow(between(middle)(np.arange(6)))
    assert all(group.frozen for group in channels.groups)


def test_channels_whose_number_is_an_output_stay() -> None:
    net = Network()
    x = begin(net, np.arange(6))
    asked = net.op("SHAPE", x, outType=2)
    _, channels = follow(net.finish(net.conv(x, draw(3, 4, 1, 1, 6)), asked))
    assert all(group.frozen for group in channels.groups)


def test_a_shuffle_of_channels_is_followed() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        both = np.concatenate([keep, keep + 6])
        x = net.conv(net.input(1, 6, 6, 3), draw(1, 12, 3, 3, 3)[both], name="first")
        x = net.op("RESHAPE", x, ints(net, 1, 6, 6, 2, len(keep)))
        x = net.op("TRANSPOSE", x, ints(net, 0, 1, 2, 4, 3))
        x = net.op("RESHAPE", x, ints(net, 1, 6, 6, 2 * len(keep)))
        turned = np.stack([keep * 2, keep * 2 + 1], axis=1).ravel()
        return net.finish(net.conv(x, draw(3, 4, 1, 1, 12)[..., turned]))

    assert_slices(build, {"first": GONE}, IMAGE)


def test_channels_that_are_moved_to_the_front_and_back_are_followed() -> None:
    def middle(net: Network, x: int, _count: int) -> int:
        x = net.op("TRANSPOSE", x, ints(net, 0, 3, 1, 2))
        x = net.op("ADD", x, net.constant(draw(7, 6, 6)))
        return net.op("TRANSPOSE", x, ints(net, 0, 2, 3, 1))

    assert_slices(between(middle), {"first": GONE}, IMAGE)


def test_a_squeeze_that_names_no_axes_keeps_the_last_channel_that_is_left() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.op("MEAN", begin(net, keep), ints(net, 1, 2), keepDims=True)
        axes = np.array([0, 1, 2], np.int32)
        x = net.op("SQUEEZE", x, squeezeDims=axes if len(keep) == 1 else None)
        x = net.op("RESHAPE", x, ints(net, 1, -1))
        return net.finish(net.dense(x, draw(3, 4, 6)[:, keep]))

    assert_slices(build, {"first": [0, 1, 2, 4, 5]}, IMAGE)


def test_what_is_stacked_is_tied_and_what_is_taken_apart_is_followed() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = begin(net, keep)
        other = net.conv(0, draw(4, 6, 1, 1, 3)[keep])
        x = net.op("PACK", x, other, axis=1, valuesCount=2)
        one, two = net.add("UNPACK", x, count=2, axis=1, num=2)
        x = net.op("SUB", two, one)
        return net.finish(net.conv(x, draw(3, 4, 1, 1, 6)[..., keep]))

    assert_slices(build, {"first": GONE}, IMAGE)


def test_space_goes_to_depth_and_back() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.op("SPACE_TO_DEPTH", begin(net, keep), blockSize=2)
        deep = (np.arange(4)[:, None] * 6 + keep).ravel()
        inner = net.conv(x, draw(3, 5, 1, 1, 24)[..., deep])
        x = net.op("DEPTH_TO_SPACE", x, blockSize=2)
        return net.finish(inner, net.conv(x, draw(4, 4, 1, 1, 6)[..., keep]))

    assert_slices(build, {"first": GONE}, IMAGE)


def test_copies_of_channels_leave_together() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.op("TILE", begin(net, keep), ints(net, 1, 2, 1, 2))
        both = np.concatenate([keep, keep + 6])
        return net.finish(net.conv(x, draw(3, 4, 1, 1, 12)[..., both]))

    assert_slices(build, {"first": GONE}, IMAGE)


def test_rows_that_are_picked_keep_their_channels() -> None:
    def middle(net: Network, x: int, _count: int) -> int:
        return net.op("GATHER", x, ints(net, 4, 0, 2), axis=1)

    assert_slices(between(middle), {"first": GONE}, IMAGE)


@pytest.mark.parametrize("way", ["GATHER", "EMBEDDING_LOOKUP"])
def test_an_embedding_loses_columns(way: str) -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        words = net.input(7, dtype="int32")
        table = net.constant(draw(1, 20, 6)[:, keep])
        given = (table, words) if way == "GATHER" else (words, table)
        x = net.add(way, *given, name="first", shapes=[(7, len(keep))])[0]
        x = net.op("MEAN", x, ints(net, 0), keepDims=True)
        return net.finish(net.dense(x, draw(3, 4, 6)[:, keep]))

    assert_slices(build, {"first": GONE}, np.array([3, 0, 19, 4, 4, 1, 7]))


@pytest.mark.parametrize(
    "middle",
    [
        lambda net, x, _: net.op("REVERSE_V2", x, ints(net, 3)),
        lambda net, x, _: net.op("GATHER", x, ints(net, 5, 4, 3, 2, 1, 0), axis=3),
        lambda net, x, _: net.op("CUMSUM", x, net.constant(np.int32(3))),
        lambda net, x, _: net.op("LOCAL_RESPONSE_NORMALIZATION", x, radius=2, beta=0.5),
        lambda net, x, _: net.op(
            "STRIDED_SLICE",
            x,
            *(ints(net, 0, 0, 0, 5), ints(net, 1, 6, 6, 0), ints(net, 1, 1, 1, -1)),
            endMask=8,
        ),
    ],
)
def test_what_cannot_be_followed_keeps_its_channels(
    middle: Callable[[Network, int, int], int],
) -> None:
    net = Network()
    x = begin(net, np.arange(6))
    try:
        x = middle(net, x, 6)
    except (RuntimeError, ValueError):
        pytest.skip("this engine does not take it")
    content = net.finish(net.conv(x, draw(3, net.shape(x)[-1], 1, 1, net.shape(x)[-1])))
    _, channels = follow(content)
    assert channels.frozen
    assert all(group.frozen for group in channels.groups)
