"""Draws networks at random: chains, branches, residuals, concatenations, splits, shuffles."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.tiny_models import SAME, Array, Network

SIDE = 6
CHANNELS = 3


class Growing:
    """A network under construction, and the feature maps that may still be used."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.net = Network()
        self.seed = draw(st.integers(0, 2**16))
        self.random = np.random.default_rng(self.seed)
        self.maps = [self.net.input(1, SIDE, SIDE, CHANNELS)]
        self.maps.append(self.conv(self.maps[0], 8))

    def pick(self) -> int:
        """Choose a feature map, a late one rather than an early one."""
        return self.maps[-1 - self.draw(st.integers(0, min(2, len(self.maps) - 1)))]

    def channels(self, x: int) -> int:
        return self.net.shape(x)[-1]

    def normal(self, *shape: int) -> Array:
        return self.random.normal(size=shape).astype(np.float32)

    def conv(self, x: int, count: int, size: int = 1) -> int:
        fan_in = size * size * self.channels(x)
        weights = self.normal(count, size, size, self.channels(x)) / np.sqrt(fan_in)
        return self.net.conv(x, weights, self.normal(count) / 2, activation=1)

    def like(self, x: int) -> int:
        """Give another map of the same shape: one that is there, or a new one."""
        shape = self.net.shape(x)
        found = [k for k in self.maps if self.net.shape(k) == shape and k != x]
        is_shared = self.draw(st.booleans())
        if found and is_shared:
            return self.draw(st.sampled_from(found))
        return self.conv(x, shape[-1])


def _convolution(at: Growing, x: int) -> list[int]:
    return [at.conv(x, at.draw(st.integers(1, 9)), at.draw(st.sampled_from([1, 3])))]


def _depthwise(at: Growing, x: int) -> list[int]:
    count = at.channels(x) * at.draw(st.integers(1, 2))
    return [at.net.depthwise(x, at.normal(1, 3, 3, count) / 3, at.normal(count))]


def _activation(at: Growing, x: int) -> list[int]:
    kinds = ["RELU6", "TANH", "LOGISTIC", "HARD_SWISH", "LEAKY_RELU", "ELU", "COS"]
    kind = at.draw(st.sampled_from(kinds))
    return [at.net.op(kind, x, alpha=0.1) if kind == "LEAKY_RELU" else at.net.op(kind, x)]


def _slope(at: Growing, x: int) -> list[int]:
    return [at.net.op("PRELU", x, at.net.constant(at.normal(1, 1, at.channels(x))))]


def _residual(at: Growing, x: int) -> list[int]:
    kind = at.draw(st.sampled_from(["ADD", "SUB", "MUL", "MAXIMUM"]))
    return [at.net.op(kind, x, at.like(x))]


def _scale(at: Growing, x: int) -> list[int]:
    count = at.draw(st.sampled_from([1, at.channels(x)]))
    kind = at.draw(st.sampled_from(["ADD", "MUL", "SUB"]))
    return [at.net.op(kind, x, at.net.constant(at.normal(count)))]


def _gate(at: Growing, x: int) -> list[int]:
    axes = at.net.constant(np.array([1, 2], np.int32))
    squeezed = at.net.op("MEAN", x, axes, keepDims=True)
    inner = at.conv(squeezed, at.draw(st.integers(1, 4)))
    return [at.net.op("MUL", x, at.net.op("LOGISTIC", at.conv(inner, at.channels(x))))]


def _concatenation(at: Growing, x: int) -> list[int]:
    size = at.net.shape(x)[:3]
    others = [k for k in at.maps[1:] if at.net.shape(k)[:3] == size]
    chosen = at.draw(st.lists(st.sampled_from([x, *others]), min_size=1, max_size=3))
    joined = at.net.op("CONCATENATION", *chosen, x, axis=3)
    return [joined] if at.channels(joined) <= 40 else []


def _split(at: Growing, x: int) -> list[int]:
    if at.channels(x) % 2:
        return []
    axis = at.net.constant(np.int32(3))
    return list(at.net.add("SPLIT", axis, x, count=2, numSplits=2))


def _uneven_split(at: Growing, x: int) -> list[int]:
    if at.channels(x) < 3:
        return []
    sizes = np.array([2, at.channels(x) - 2], np.int32)
    given = at.net.constant(sizes), at.net.constant(np.int32(-1))
    return list(at.net.add("SPLIT_V", x, *given, count=2, numSplits=2))


def _part(at: Growing, x: int) -> list[int]:
    shape, first = at.net.shape(x), at.draw(st.integers(0, at.channels(x) - 1))
    count = at.draw(st.integers(1, at.channels(x) - first))
    begin = at.net.constant(np.array([0, 0, 0, first], np.int32))
    size = at.net.constant(np.array([*shape[:3], count], np.int32))
    return [at.net.op("SLICE", x, begin, size)]


def _shuffle(at: Growing, x: int) -> list[int]:
    _, height, width, count = at.net.shape(x)
    if count % 2:
        return []
    folded = at.net.constant(np.array([1, height, width, 2, count // 2], np.int32))
    turned = at.net.op("RESHAPE", x, folded)
    order = at.net.constant(np.array([0, 1, 2, 4, 3], np.int32))
    turned = at.net.op("TRANSPOSE", turned, order)
    flat = at.net.constant(np.array([1, height, width, count], np.int32))
    return [at.net.op("RESHAPE", turned, flat)]


def _pool(at: Growing, x: int) -> list[int]:
    kind = at.draw(st.sampled_from(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
    taps: dict[str, Any] = {"filterHeight": 2, "filterWidth": 2}
    return [at.net.op(kind, x, padding=SAME, strideH=1, strideW=1, **taps)]


def _pad(at: Growing, x: int) -> list[int]:
    paddings = np.array([[0, 0], [0, 1], [1, 0], [0, 0]], np.int32)
    return [at.net.op("PAD", x, at.net.constant(paddings))]


def _resize(at: Growing, x: int) -> list[int]:
    size = at.net.constant(np.array([SIDE, SIDE], np.int32))
    return [at.net.op("RESIZE_BILINEAR", x, size)]


def _wider_shortcut(at: Growing, x: int) -> list[int]:
    added = at.draw(st.integers(1, 4))
    before = at.draw(st.integers(0, added))
    paddings = np.array([[0, 0], [0, 0], [0, 0], [before, added - before]], np.int32)
    padded = at.net.op("PAD", x, at.net.constant(paddings))
    return [at.net.op("ADD", padded, at.conv(x, at.channels(x) + added))]


def _channels_first(at: Growing, x: int) -> list[int]:
    there, back = (at.net.constant(np.array(k, np.int32)) for k in ([0, 3, 1, 2], [0, 2, 3, 1]))
    turned = at.net.op("TRANSPOSE", x, there)
    slope = at.net.constant(at.normal(at.channels(x), 1, 1))
    return [at.net.op("TRANSPOSE", at.net.op("MUL", turned, slope), back)]


def _depth(at: Growing, x: int) -> list[int]:
    _, height, width, count = at.net.shape(x)
    if height % 2 or width % 2 or count > 8:
        return []
    deep = at.net.op("SPACE_TO_DEPTH", x, blockSize=2)
    mixed = at.net.op("RELU6", deep)
    return [at.net.op("DEPTH_TO_SPACE", mixed, blockSize=2)]


def _strided_part(at: Growing, x: int) -> list[int]:
    first = at.draw(st.integers(0, at.channels(x) - 1))
    begin, end = (
        at.net.constant(np.array([0, 0, 0, k], np.int32)) for k in (first, at.channels(x))
    )
    ones = at.net.constant(np.ones(4, np.int32))
    return [at.net.op("STRIDED_SLICE", x, begin, end, ones, beginMask=7, endMask=7)]


def _transposed_convolution(at: Growing, x: int) -> list[int]:
    _, height, width, count = at.net.shape(x)
    made = at.draw(st.integers(1, 6))
    shape = at.net.constant(np.array([1, height, width, made], np.int32))
    weights = at.net.constant(at.normal(made, 3, 3, count) / np.sqrt(9 * count))
    options: dict[str, Any] = {"padding": SAME, "strideH": 1, "strideW": 1}
    return [at.net.op("TRANSPOSE_CONV", shape, weights, x, **options)]


def _stack(at: Growing, x: int) -> list[int]:
    both = at.net.op("PACK", x, at.like(x), axis=1, valuesCount=2)
    return list(at.net.add("UNPACK", both, count=2, axis=1, num=2))


STEPS: tuple[Callable[[Growing, int], list[int]], ...] = (
    _convolution,
    _depthwise,
    _activation,
    _slope,
    _residual,
    _scale,
    _gate,
    _concatenation,
    _split,
    _uneven_split,
    _part,
    _shuffle,
    _pool,
    _pad,
    _resize,
    _wider_shortcut,
    _channels_first,
    _depth,
    _strided_part,
    _transposed_convolution,
    _stack,
)


class Generated:
    """A model, and the steps that made it: hypothesis shows these and not the bytes."""

    def __init__(self, content: bytes, steps: tuple[str, ...], seed: int) -> None:
        self.content = content
        self._made = f"{', '.join(steps)}; seed {seed}"

    def __repr__(self) -> str:
        return f"<{self._made}>"


@st.composite
def networks(draw: st.DrawFn) -> Generated:
    """Draw a network with one input [1, `SIDE`, `SIDE`, `CHANNELS`] and one or two outputs."""
    at = Growing(draw)
    steps = draw(st.lists(st.sampled_from(STEPS), min_size=2, max_size=10))
    for step in steps:
        at.maps += step(at, at.pick())
    outputs = [at.conv(at.pick(), 3)]
    if draw(st.booleans()):
        last = at.pick()
        flat = at.net.constant(np.array([1, -1], np.int32))
        last = at.net.op("RESHAPE", last, flat)
        outputs.append(at.net.dense(last, at.normal(4, at.channels(last)) / 10))
    names = tuple(step.__name__.strip("_") for step in steps)
    return Generated(at.net.finish(*outputs), names, at.seed)
