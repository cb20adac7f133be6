"""Small relatives of the networks that people run: the same operators, few channels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers

from support.tiny_models import RELU, RELU6, SAME, VALID, Array, Network

WORDS = 20
"""Rows of the only embedding here: what an integer input may be, and one more."""


def rows(content: bytes, count: int, seed: int) -> list[tuple[Array, ...]]:
    """Draw samples for a model's inputs."""
    random = np.random.default_rng(seed)
    inputs = Interpreter(model_content=content).get_input_details()
    return [
        tuple(
            random.integers(WORDS, size=each["shape"]).astype(np.int32)
            if each["dtype"] is np.int32
            else random.normal(size=each["shape"]).astype(np.float32)
            for each in inputs
        )
        for _ in range(count)
    ]


class Sketch(Network):
    """A network with random weights of a sensible size."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)

    def normal(self, *shape: int) -> Array:
        return self.random.normal(size=shape).astype(np.float32)

    def ints(self, *values: int) -> int:
        return self.constant(np.array(values, np.int32))

    def layer(
        self,
        x: int,
        count: int,
        size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        activation: int = RELU,
        padding: int = SAME,
    ) -> int:
        """Add a convolution that keeps the spread of its input."""
        fan_in = size * size * self.shape(x)[-1]
        return self.conv(
            x,
            self.normal(count, size, size, self.shape(x)[-1]) / np.sqrt(fan_in / 2),
            0.1 * self.normal(count),
            stride=stride,
            dilation=dilation,
            activation=activation,
            padding=padding,
        )

    def separable(
        self,
        x: int,
        count: int,
        *,
        stride: int = 1,
        size: int = 3,
        activation: int = RELU6,
    ) -> int:
        """Add a depthwise and a pointwise convolution."""
        weights = self.normal(1, size, size, self.shape(x)[-1]) / size
        bias = 0.1 * self.normal(self.shape(x)[-1])
        x = self.depthwise(x, weights, bias, stride=stride, activation=activation)
        return self.layer(x, count, 1, activation=activation)

    def linear(
        self, x: int, count: int, *, activation: int = 0, keep_axes: bool = False
    ) -> int:
        """Add a dense layer."""
        weights = self.normal(count, self.shape(x)[-1]) / np.sqrt(self.shape(x)[-1] / 2)
        bias = 0.1 * self.normal(count)
        return self.dense(x, weights, bias, activation=activation, keep_axes=keep_axes)

    def mean(self, x: int, *, keep: bool = False) -> int:
        return self.op("MEAN", x, self.ints(1, 2), keepDims=keep)

    def softmax(self, x: int) -> int:
        return self.op("SOFTMAX", x, beta=1.0)

    def reshape(self, x: int, *shape: int) -> int:
        return self.op("RESHAPE", x, self.ints(*shape))

    def pool(self, x: int, kind: str, size: int, stride: int, padding: int = SAME) -> int:
        taps: dict[str, Any] = {"filterHeight": size, "filterWidth": size}
        return self.op(kind, x, padding=padding, strideH=stride, strideW=stride, **taps)

    def up(self, x: int, count: int) -> int:
        """Add a transposed convolution of twice the size."""
        _, height, width, inputs = self.shape(x)
        return self.op(
            "TRANSPOSE_CONV",
            self.ints(1, 2 * height, 2 * width, count),
            self.constant(self.normal(count, 3, 3, inputs) / np.sqrt(3 * inputs)),
            x,
            self.constant(0.1 * self.normal(count)),
            padding=SAME,
            strideH=2,
            strideW=2,
        )

    def resize(self, x: int, size: int, kind: str = "RESIZE_BILINEAR") -> int:
        return self.op(kind, x, self.ints(size, size))


def mobilenet_v1() -> bytes:
    net = Sketch(1)
    x = net.layer(net.input(1, 32, 32, 3), 8, stride=2, activation=RELU6)
    for count, stride in ((16, 1), (24, 2), (24, 1), (32, 2)):
        x = net.separable(x, count, stride=stride)
    x = net.pool(x, "AVERAGE_POOL_2D", 4, 1, VALID)
    x = net.layer(x, 10, 1, activation=0)
    return net.finish(net.softmax(net.op("SQUEEZE", x, squeezeDims=[1, 2])))


def mobilenet_v2() -> bytes:
    net = Sketch(2)
    x = net.layer(net.input(1, 32, 32, 3), 8, stride=2, activation=RELU6)
    for count, stride in ((8, 1), (12, 2), (12, 1), (16, 2)):
        inner = net.layer(x, 24, 1, activation=RELU6)
        weights = net.normal(1, 3, 3, 24) / 3
        inner = net.depthwise(inner, weights, net.normal(24), stride=stride, activation=RELU6)
        y = net.layer(inner, count, 1, activation=0)
        x = net.op("ADD", x, y) if net.shape(x) == net.shape(y) else y
    x = net.mean(net.layer(x, 32, 1, activation=RELU6))
    return net.finish(net.softmax(net.linear(x, 10)))


def _gated(net: Sketch, x: int) -> int:
    squeezed = net.layer(net.mean(x, keep=True), 4, 1)
    excited = net.layer(squeezed, net.shape(x)[-1], 1, activation=0)
    shifted = net.op("ADD", excited, net.constant(np.float32(3)), fusedActivationFunction=RELU6)
    return net.op("MUL", x, net.op("MUL", shifted, net.constant(np.float32(1 / 6))))


def mobilenet_v3() -> bytes:
    net = Sketch(3)
    x = net.layer(net.input(1, 32, 32, 3), 8, stride=2, activation=0)
    x = net.op("HARD_SWISH", x)
    for count, size in ((8, 3), (12, 5), (12, 5)):
        inner = net.op("HARD_SWISH", net.layer(x, 16, 1, activation=0))
        weights = net.normal(1, size, size, 16) / size
        inner = _gated(net, net.depthwise(inner, weights, net.normal(16)))
        y = net.layer(net.op("HARD_SWISH", inner), count, 1, activation=0)
        x = net.op("ADD", x, y) if net.shape(x) == net.shape(y) else y
    x = net.op("HARD_SWISH", net.layer(net.mean(x, keep=True), 24, 1, activation=0))
    x = net.layer(x, 10, 1, activation=0)
    return net.finish(net.softmax(net.reshape(x, 1, 10)))


def efficientnet_lite() -> bytes:
    net = Sketch(4)
    x = net.layer(net.input(1, 32, 32, 3), 8, stride=2, activation=RELU6)
    for count, stride, size in ((8, 1, 3), (12, 2, 5), (12, 1, 5), (20, 2, 3)):
        inner = net.layer(x, 4 * net.shape(x)[-1], 1, activation=RELU6)
        y = net.separable(inner, count, stride=stride, size=size)
        x = net.op("ADD", x, y) if net.shape(x) == net.shape(y) else y
    x = net.pool(net.layer(x, 32, 1), "AVERAGE_POOL_2D", 4, 4, VALID)
    return net.finish(net.softmax(net.linear(net.reshape(x, -1, 32), 10)))


def _heads(net: Sketch) -> tuple[int, int]:
    x = net.layer(net.input(1, 32, 32, 3), 8, stride=2, activation=RELU6)
    boxes, classes = [], []
    for count in (12, 16):
        x = net.separable(x, count, stride=2)
        box = net.layer(net.separable(x, count), 3 * 4, 1, activation=0)
        score = net.layer(x, 3 * 5, 1, activation=0)
        boxes.append(net.reshape(box, 1, -1, 4))
        classes.append(net.reshape(score, 1, -1, 5))
    joined = net.op("CONCATENATION", *classes, axis=1)
    return net.op("CONCATENATION", *boxes, axis=1), net.op("LOGISTIC", joined)


def ssd() -> bytes:
    net = Sketch(5)
    return net.finish(*_heads(net))


def ssd_with_postprocessing() -> bytes:
    net = Sketch(6)
    boxes, scores = _heads(net)
    options = flexbuffers.Builder()
    with options.Map():
        for name, value in (("max_detections", 4), ("max_classes_per_detection", 1)):
            options.Int(name, value)
        options.Int("num_classes", 4)
        for name, number in (("nms_score_threshold", 0.1), ("nms_iou_threshold", 0.5)):
            options.Float(name, number)
        for name in ("x_scale", "y_scale", "h_scale", "w_scale"):
            options.Float(name, 5.0)
    anchors = net.constant(np.abs(net.normal(net.shape(boxes)[1], 4)))
    found = net.add(
        "TFLite_Detection_PostProcess",
        *(boxes, scores, anchors),
        shapes=[(1, 4, 4), (1, 4), (1, 4), (1,)],
        custom=bytes(options.Finish()),
    )
    return net.finish(*found)


def deeplab() -> bytes:
    net = Sketch(7)
    x = net.separable(net.layer(net.input(1, 33, 33, 3), 8, stride=2), 12, stride=2)
    block, margin = net.ints(2, 2), net.constant(np.array([[2, 3], [2, 3]], np.int32))
    y = net.op("SPACE_TO_BATCH_ND", x, block, margin)
    y = net.depthwise(y, net.normal(1, 3, 3, 12) / 3, net.normal(12), activation=RELU6)
    y = net.op("BATCH_TO_SPACE_ND", y, block, margin)
    branches = [net.layer(y, 8, 1)]
    branches += [net.layer(x, 8, dilation=dilation) for dilation in (2, 3)]
    pooled = net.layer(net.mean(x, keep=True), 8, 1)
    branches.append(net.resize(pooled, 9))
    x = net.layer(net.op("CONCATENATION", *branches, axis=3), 12, 1)
    return net.finish(net.resize(net.layer(x, 4, 1, activation=0), 33))


def movenet() -> bytes:
    net = Sketch(8)
    x = net.op("SUB", net.input(1, 32, 32, 3), net.constant(np.float32(0.5)))
    one = net.separable(net.layer(x, 8, stride=2), 12, stride=2)
    two = net.separable(one, 16, stride=2)
    top = net.resize(net.layer(two, 12, 1), 8)
    joined = net.separable(net.op("ADD", top, net.layer(one, 12, 1, activation=0)), 12)
    heat = net.op("LOGISTIC", net.layer(net.separable(joined, 8), 5, 1, activation=0))
    offsets = net.layer(net.separable(joined, 8), 10, 1, activation=0)
    flat = net.reshape(heat, 64, 5)
    best = net.add(
        "ARG_MAX", flat, net.constant(np.int32(0)), shapes=[(5,)], dtype="int32", outputType=2
    )[0]
    return net.finish(heat, offsets, best)


def unet() -> bytes:
    net = Sketch(9)
    one = net.layer(net.layer(net.input(1, 16, 16, 1), 6), 6)
    two = net.layer(net.layer(net.pool(one, "MAX_POOL_2D", 2, 2), 8), 8)
    deep = net.layer(net.pool(two, "MAX_POOL_2D", 2, 2), 12)
    x = net.layer(net.op("CONCATENATION", net.up(deep, 8), two, axis=3), 8)
    x = net.layer(net.op("CONCATENATION", net.up(x, 6), one, axis=3), 6)
    return net.finish(net.op("LOGISTIC", net.layer(x, 1, 1, activation=0)))


def convolutional_autoencoder() -> bytes:
    net = Sketch(10)
    x = net.layer(net.layer(net.input(1, 16, 16, 1), 8, stride=2), 12, stride=2)
    x = net.linear(net.reshape(x, 1, 192), 10, activation=RELU)
    x = net.reshape(net.linear(x, 192, activation=RELU), 1, 4, 4, 12)
    x = net.op("RELU", net.up(x, 8))
    return net.finish(net.up(x, 1))


def dense_autoencoder() -> bytes:
    net = Sketch(11)
    x = net.input(1, 40)
    for count in (24, 24, 6, 24, 24):
        x = net.linear(x, count, activation=RELU)
    return net.finish(net.linear(x, 40))


def keyword_spotter_with_svdf() -> bytes:
    net = Sketch(12)
    x = net.linear(net.input(1, 20), 12, activation=RELU)
    state = net._tensor("state", "float32", (1, 16 * 5))
    net.graph.tensors[state].isVariable = True
    feature = net.constant(net.normal(16, 12) / 4)
    time, bias = net.constant(net.normal(16, 5)), net.constant(net.normal(16))
    held = (feature, time, bias, state)
    x = net.add("SVDF", x, *held, shapes=[(1, 16)], rank=1, fusedActivationFunction=RELU)[0]
    x = net.linear(net.linear(x, 12, activation=RELU), 4)
    return net.finish(net.softmax(x))


def streaming_keyword_spotter() -> bytes:
    """Keep the last frames in a variable, as streaming models do."""
    net = Sketch(13)
    first, net.graph = net.graph, net.add_subgraph()
    handle = net.add("VAR_HANDLE", shapes=[()], dtype="resource", sharedName="frames")[0]
    net.add("ASSIGN_VARIABLE", handle, net.constant(np.zeros((1, 4, 1, 10))), shapes=[])
    net.graph.outputs = np.zeros(0, np.int32)
    net.graph = first
    net.add("CALL_ONCE", shapes=[], initSubgraphIndex=1)
    handle = net.add("VAR_HANDLE", shapes=[()], dtype="resource", sharedName="frames")[0]
    held = net.add("READ_VARIABLE", handle, shapes=[(1, 4, 1, 10)])[0]
    x = net.input(1, 1, 1, 10)
    recent = net.op("SLICE", held, net.ints(0, 1, 0, 0), net.ints(1, 3, 1, 10))
    frames = net.op("CONCATENATION", recent, x, axis=1)
    net.add("ASSIGN_VARIABLE", handle, frames, shapes=[])
    x = net.depthwise(frames, net.normal(1, 4, 1, 10), net.normal(10))
    x = net.layer(net.layer(x, 12, 1), 12, 1)
    return net.finish(net.softmax(net.linear(net.mean(x), 4)))


def tiny_speech() -> bytes:
    """Begin with a depthwise convolution that makes eight channels of one."""
    net = Sketch(14)
    x = net.reshape(net.input(1, 196), 1, 14, 14, 1)
    x = net.depthwise(x, net.normal(1, 5, 4, 8), net.normal(8), stride=2, activation=RELU)
    x = net.linear(net.reshape(x, 1, 392), 4)
    return net.finish(net.softmax(x))


def lstm() -> bytes:
    net = Sketch(15)
    x = net.linear(net.input(1, 6, 8), 10, activation=RELU, keep_axes=True)
    gates = [net.constant(net.normal(8, 10) / 4) for _ in range(4)]
    recurrent = [net.constant(net.normal(8, 8) / 4) for _ in range(4)]
    biases = [net.constant(net.normal(8)) for _ in range(4)]
    states = [net._tensor(name, "float32", (1, 8)) for name in ("output state", "cell state")]
    for state in states:
        net.graph.tensors[state].isVariable = True
    x = net.add(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        *(x, *gates, *recurrent, -1, -1, -1, *biases, -1, -1, *states),
        shapes=[(1, 6, 8)],
        fusedActivationFunction=4,
    )[0]
    last = net.op(
        "STRIDED_SLICE",
        *(x, net.ints(0, 5, 0), net.ints(1, 6, 8), net.ints(1, 1, 1)),
        shrinkAxisMask=2,
    )
    return net.finish(net.softmax(net.linear(net.linear(last, 12, activation=RELU), 4)))


def unrolled_gru() -> bytes:
    net = Sketch(16)
    frames = net.add("UNPACK", net.input(1, 4, 6), count=4, num=4, axis=1)
    weights = [net.constant(net.normal(8, 14) / 4) for _ in range(3)]
    biases = [net.constant(net.normal(8)) for _ in range(3)]
    state = net.linear(frames[0], 8, activation=RELU)
    for frame in frames:
        both = net.op("CONCATENATION", frame, state, axis=1)
        update, reset = (
            net.op("LOGISTIC", net.op("FULLY_CONNECTED", both, weights[k], biases[k]))
            for k in range(2)
        )
        held = net.op("MUL", reset, state)
        both = net.op("CONCATENATION", frame, held, axis=1)
        new = net.op("TANH", net.op("FULLY_CONNECTED", both, weights[2], biases[2]))
        step = net.op("MUL", update, net.op("SUB", new, state))
        state = net.op("ADD", state, step)
    return net.finish(net.softmax(net.linear(state, 4)))


def densenet() -> bytes:
    net = Sketch(17)
    x = net.layer(net.input(1, 16, 16, 3), 8, stride=2)
    for _ in range(2):
        for _ in range(3):
            scale = net.constant(np.abs(net.normal(net.shape(x)[-1])))
            shift = net.constant(net.normal(net.shape(x)[-1]))
            y = net.op("ADD", net.op("MUL", x, scale), shift, fusedActivationFunction=RELU)
            y = net.layer(net.layer(y, 8, 1), 4, activation=0)
            x = net.op("CONCATENATION", x, y, axis=3)
        x = net.pool(net.layer(x, 8, 1), "AVERAGE_POOL_2D", 2, 2)
    return net.finish(net.softmax(net.linear(net.mean(x), 10)))


def shufflenet() -> bytes:
    net = Sketch(18)
    x = net.layer(net.input(1, 16, 16, 3), 12, stride=2)
    for _ in range(2):
        one, two = net.add("SPLIT", net.constant(np.int32(3)), x, count=2, numSplits=2)
        two = net.separable(net.layer(two, 6, 1), 6)
        x = net.op("CONCATENATION", one, two, axis=3)
        x = net.op("TRANSPOSE", net.reshape(x, 1, 8, 8, 2, 6), net.ints(0, 1, 2, 4, 3))
        x = net.reshape(x, 1, 8, 8, 12)
    return net.finish(net.softmax(net.linear(net.mean(x), 10)))


def transformer() -> bytes:
    net = Sketch(19)
    x = net.linear(net.input(1, 8, 6), 16, keep_axes=True)
    x = net.op("ADD", x, net.constant(net.normal(1, 8, 16)))

    def split(y: int) -> int:
        return net.op("TRANSPOSE", net.reshape(y, 1, 8, 2, 8), net.ints(0, 2, 1, 3))

    query, key, value = (split(net.linear(x, 16, keep_axes=True)) for _ in range(3))
    scores = net.op("BATCH_MATMUL", query, key, adjY=True)
    scores = net.softmax(net.op("MUL", scores, net.constant(np.float32(0.35))))
    mixed = net.op("BATCH_MATMUL", scores, value)
    mixed = net.reshape(net.op("TRANSPOSE", mixed, net.ints(0, 2, 1, 3)), 1, 8, 16)
    x = net.op("ADD", x, net.linear(mixed, 16, keep_axes=True))
    mean = net.op("MEAN", x, net.ints(2), keepDims=True)
    spread = net.op("MEAN", net.op("SQUARED_DIFFERENCE", x, mean), net.ints(2), keepDims=True)
    scale = net.op("RSQRT", net.op("ADD", spread, net.constant(np.float32(1e-3))))
    x = net.op("MUL", net.op("SUB", x, mean), scale)
    inner = net.op("GELU", net.linear(x, 32, keep_axes=True))
    x = net.op("ADD", x, net.linear(inner, 16, keep_axes=True))
    return net.finish(net.softmax(net.linear(net.op("MEAN", x, net.ints(1)), 4)))


def one_dimensional() -> bytes:
    net = Sketch(20)
    axis = net.ints(1)
    x = net.input(1, 32, 2)
    for count in (8, 12):
        x = net.op("EXPAND_DIMS", x, axis)
        weights = net.normal(count, 1, 5, net.shape(x)[-1]) / 3
        x = net.conv(x, weights, net.normal(count), activation=RELU)
        x = net.op("SQUEEZE", x, squeezeDims=[1])
    x = net.linear(net.op("MEAN", x, net.ints(1)), 4)
    return net.finish(net.softmax(x))


def resnet() -> bytes:
    net = Sketch(21)
    x = net.layer(net.input(1, 16, 16, 3), 8)
    for count, stride in ((8, 1), (12, 2)):
        y = net.layer(net.layer(x, count, stride=stride), count, activation=0)
        x = x if stride == 1 else net.layer(x, count, 1, stride=stride, activation=0)
        x = net.op("ADD", x, y, fusedActivationFunction=RELU)
    x = net.pool(x, "AVERAGE_POOL_2D", 8, 8, VALID)
    return net.finish(net.softmax(net.linear(net.reshape(x, 1, 12), 10)))


def inception() -> bytes:
    net = Sketch(22)
    x = net.layer(net.input(1, 16, 16, 3), 8, stride=2)
    for _ in range(2):
        pooled = net.layer(net.pool(x, "MAX_POOL_2D", 3, 1), 4, 1)
        wide = net.layer(net.layer(x, 4, 1), 6, 5)
        x = net.op("CONCATENATION", net.layer(x, 4, 1), wide, pooled, axis=3)
    return net.finish(net.softmax(net.linear(net.mean(x), 10)))


def super_resolution() -> bytes:
    net = Sketch(23)
    x = net.input(1, 12, 12, 3)
    y = net.layer(net.layer(x, 12, 5), 8)
    y = net.op("PRELU", y, net.constant(0.2 * np.abs(net.normal(1, 1, 8))))
    y = net.op("DEPTH_TO_SPACE", net.layer(y, 12, activation=0), blockSize=2)
    return net.finish(net.op("ADD", y, net.resize(x, 24)))


def face_embedding() -> bytes:
    net = Sketch(24)
    x = net.separable(net.layer(net.input(1, 16, 16, 3), 8, stride=2), 12, stride=2)
    x = net.linear(net.reshape(x, 1, 192), 16)
    return net.finish(net.op("L2_NORMALIZATION", x))


def two_inputs() -> bytes:
    net = Sketch(25)
    image, numbers = net.input(1, 8, 8, 3), net.input(1, 5)
    x = net.mean(net.layer(net.layer(image, 8), 12))
    both = net.op("CONCATENATION", x, net.linear(numbers, 6, activation=RELU), axis=1)
    return net.finish(net.softmax(net.linear(net.linear(both, 8, activation=RELU), 4)))


def average_word_vectors() -> bytes:
    net = Sketch(27)
    words = net.input(1, 8, dtype="int32")
    table = net.constant(net.normal(WORDS, 12))
    x = net.add("GATHER", table, words, shapes=[(1, 8, 12)])[0]
    x = net.linear(net.op("MEAN", x, net.ints(1)), 8, activation=RELU)
    return net.finish(net.softmax(net.linear(x, 3)))


def nothing_to_prune() -> bytes:
    net = Sketch(26)
    return net.finish(net.softmax(net.linear(net.input(1, 12), 4)))


ARCHITECTURES: dict[str, Callable[[], bytes]] = {
    each.__name__: each
    for each in (
        mobilenet_v1,
        mobilenet_v2,
        mobilenet_v3,
        efficientnet_lite,
        ssd,
        ssd_with_postprocessing,
        deeplab,
        movenet,
        unet,
        convolutional_autoencoder,
        dense_autoencoder,
        keyword_spotter_with_svdf,
        streaming_keyword_spotter,
        tiny_speech,
        lstm,
        unrolled_gru,
        densenet,
        shufflenet,
        transformer,
        one_dimensional,
        resnet,
        inception,
        super_resolution,
        face_embedding,
        two_inputs,
        average_word_vectors,
        nothing_to_prune,
    )
}
