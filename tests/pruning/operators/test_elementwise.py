"""Operators that work element by element: a channel passes them, tied to whatever joins it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from support.slicing import assert_slices, follow
from support.tiny_models import Array, Network

Keep = npt.NDArray[np.intp]
GONE = [0, 2, 5]


def draw(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


IMAGE = draw(0, 1, 6, 6, 3)

Middle = Callable[[Network, int, Keep], int]


def between(middle: Middle) -> Callable[[Keep], bytes]:
    """Make a network with something between two convolutions; its channels are positive."""

    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.conv(
            net.input(1, 6, 6, 3),
            np.abs(draw(1, 6, 3, 3, 3))[keep],
            np.abs(draw(2, 6))[keep] + 1,
            name="first",
            activation=1,
        )
        return net.finish(net.conv(middle(net, x, keep), draw(3, 4, 3, 3, 6)[..., keep]))

    return build


@pytest.mark.parametrize(
    "kind",
    [
        *("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU"),
        *("LOG", "LOGISTIC", "NEG", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND"),
        *("RSQRT", "SIGN", "SIN", "SQRT", "SQUARE", "TANH"),
    ],
)
def test_a_channel_passes_an_activation(kind: str) -> None:
    def middle(net: Network, x: int, _keep: Keep) -> int:
        small = net.op("MUL", x, net.constant(np.float32(0.1)))
        shifted = net.op("ADD", small, net.constant(np.float32(1)))
        return (
            net.op(kind, shifted, alpha=0.2) if kind == "LEAKY_RELU" else net.op(kind, shifted)
        )

    assert_slices(between(middle), {"first": GONE}, np.abs(IMAGE))


def test_a_type_changes_and_changes_back() -> None:
    def middle(net: Network, x: int, _keep: Keep) -> int:
        whole = net.add("CAST", x, shapes=[net.shape(x)], dtype="int32", outDataType=2)[0]
        return net.add("CAST", whole, shapes=[net.shape(x)], inDataType=2)[0]

    assert_slices(between(middle), {"first": GONE}, np.abs(IMAGE))


@pytest.mark.parametrize(
    "kind",
    ["ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "POW", "SQUARED_DIFFERENCE", "SUB"],
)
@pytest.mark.parametrize("shape", [(), (1,), (6,), (1, 1, 6), (1, 6, 6, 1), (1, 6, 6, 6)])
@pytest.mark.parametrize("constant_first", [False, True])
def test_a_constant_loses_what_meets_a_channel_that_leaves(
    kind: str,
    shape: tuple[int, ...],
    constant_first: bool,  # noqa: FBT001
) -> None:
    values = 0.5 + np.abs(draw(7, *shape)) % 1

    def middle(net: Network, x: int, keep: Keep) -> int:
        has_channels = bool(shape) and shape[-1] == 6
        constant = net.constant(np.float32(values[..., keep] if has_channels else values))
        return net.op(kind, *((constant, x) if constant_first else (x, constant)))

    assert_slices(between(middle), {"first": GONE}, 0.1 * np.abs(IMAGE))


@pytest.mark.parametrize("shape", [(6,), (1, 1, 6), (6, 6, 6), (6, 6, 1)])
def test_a_learnt_slope_is_sliced(shape: tuple[int, ...]) -> None:
    def middle(net: Network, x: int, keep: Keep) -> int:
        shifted = net.op("SUB", x, net.constant(np.float32(3)))
        slope = draw(7, *shape)
        return net.op(
            "PRELU", shifted, net.constant(slope[..., keep] if shape[-1] == 6 else slope)
        )

    if shape == (6, 6, 6) or len(shape) < 3:
        assert_slices(between(middle), {"first": GONE}, IMAGE)
    else:
        assert_slices(between(middle), {"first": GONE}, 2 * IMAGE)


@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "DIV"])
def test_two_branches_that_meet_lose_the_same_channels(kind: str) -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.input(1, 6, 6, 3)
        one = net.conv(x, draw(1, 6, 3, 3, 3)[keep], draw(2, 6)[keep], name="first")
        other = net.conv(x, np.abs(draw(3, 6, 1, 1, 3))[keep], 3 + draw(4, 6)[keep])
        x = net.op(kind, one, other)
        return net.finish(net.conv(x, draw(5, 4, 1, 1, 6)[..., keep]))

    assert_slices(build, {"first": GONE}, np.abs(IMAGE))


def test_a_residual_chain_is_one_group() -> None:
    def build(keep: Keep) -> bytes:
        net = Network()
        x = net.conv(net.input(1, 6, 6, 3), draw(1, 6, 3, 3, 3)[keep], name="first")
        for k in range(3):
            inner = net.conv(x, draw(10 + k, 5, 1, 1, 6)[..., keep], activation=1)
            branch = net.conv(inner, draw(20 + k, 6, 1, 1, 5)[keep])
            x = net.op("ADD", x, branch, fusedActivationFunction=1)
        return net.finish(net.conv(x, draw(5, 4, 1, 1, 6)[..., keep]))

    _, channels = follow(build(np.arange(6)))
    assert sorted(group.size for group in channels.groups if not group.frozen) == [5, 5, 5, 6]
    assert_slices(build, {"first": GONE}, IMAGE)


@pytest.mark.parametrize("gate", ["LOGISTIC", "HARD_SWISH"])
def test_squeeze_and_excite_follows_what_it_scales(gate: str) -> None:
    def middle(net: Network, x: int, keep: Keep) -> int:
        axes = net.constant(np.array([1, 2], np.int32))
        squeezed = net.op("MEAN", x, axes, keepDims=True)
        inner = net.conv(squeezed, draw(8, 2, 1, 1, 6)[..., keep], draw(9, 2), activation=1)
        excite = net.op(gate, net.conv(inner, draw(10, 6, 1, 1, 2)[keep], draw(11, 6)[keep]))
        return net.op("MUL", x, excite)

    _, channels = follow(between(middle)(np.arange(6)))
    assert sorted(group.size for group in channels.groups if not group.frozen) == [2, 6]
    assert_slices(between(middle), {"first": GONE}, IMAGE)


def test_a_map_of_one_channel_scales_all_and_leaves_with_none() -> None:
    def middle(net: Network, x: int, keep: Keep) -> int:
        attention = net.conv(x, draw(8, 1, 3, 3, 6)[..., keep], draw(9, 1), name="attention")
        return net.op("MUL", x, net.op("LOGISTIC", attention))

    assert_slices(between(middle), {"first": GONE}, IMAGE)


def test_numbers_that_choose_between_branches_are_followed() -> None:
    def middle(net: Network, x: int, keep: Keep) -> int:
        limits = net.constant((3 + draw(8, 6))[keep].astype(np.float32))
        is_larger = net.add("GREATER", x, limits, shapes=[net.shape(x)], dtype="bool")[0]
        return net.add("SELECT_V2", is_larger, x, net.op("NEG", x), shapes=[net.shape(x)])[0]

    assert_slices(between(middle), {"first": GONE}, IMAGE)


def test_a_constant_wider_than_the_channel_it_scales_is_left_alone() -> None:
    """One channel is spread over six by a constant: those six are nobody's to remove."""
    net = Network()
    x = net.conv(net.input(1, 6, 6, 3), draw(1, 1, 3, 3, 3), name="first")
    shared = net.constant(draw(2, 6))
    wide = net.op("MUL", x, shared)
    y = net.conv(wide, draw(3, 6, 1, 1, 6), name="second")
    y = net.op("ADD", y, shared)
    _, channels = follow(net.finish(net.conv(y, draw(4, 4, 1, 1, 6))))
    assert all(group.frozen or group.size == 1 for group in channels.groups)
