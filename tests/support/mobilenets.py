"""Builds a MobileNet-like float network, as converters export them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from support.tiny_models import RELU6, VALID, Network

BLOCKS = ((1, 16), (2, 16), (1, 16), (2, 32))
"""Stride and channels of each depthwise-separable block."""


def mobilenet(
    size: int = 32,
    *,
    width: int = 8,
    classes: int = 4,
    blocks: Sequence[tuple[int, int]] = BLOCKS,
    pads_stem: bool = True,
    pools: bool = True,
    seed: int = 0,
) -> bytes:
    """Build one.

    Args:
        size: Of the image, which has 3 channels.
        width: Channels of the stem.
        classes: Of the 1x1 convolution that classifies.
        blocks: Stride and channels of each.
        pads_stem: With a PAD by 1 and VALID, as from PyTorch; else SAME, as from Keras.
        pools: With an AVERAGE_POOL_2D before the classifier; else a MEAN.
        seed: Of the weights.
    """
    random, net = np.random.default_rng(seed), Network()

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        fan_in = shape[1] * shape[2] * (shape[3] if shape[0] > 1 else 1)
        return np.asarray(random.normal(size=shape) * np.sqrt(2 / fan_in), np.float32)

    x = net.input(1, size, size, 3)
    if pads_stem:
        amounts = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
        x = net.op("PAD", x, net.constant(amounts))
    x = net.conv(
        x,
        drawn(width, 3, 3, 3),
        random.normal(size=width),
        stride=2,
        padding=VALID if pads_stem else 0,
        activation=RELU6,
    )
    for stride, channels in blocks:
        before = net.shape(x)[-1]
        y = net.depthwise(
            x,
            drawn(1, 3, 3, before),
            random.normal(size=before),
            stride=stride,
            activation=RELU6,
        )
        y = net.conv(y, drawn(channels, 1, 1, before), random.normal(size=channels))
        is_residual = stride == 1 and before == channels
        x = net.op("ADD", x, y) if is_residual else net.op("RELU6", y)
    side = net.shape(x)[1]
    if pools:
        x = net.op(
            "AVERAGE_POOL_2D",
            x,
            padding=VALID,
            filterHeight=side,
            filterWidth=side,
            strideH=1,
            strideW=1,
        )
    else:
        x = net.op("MEAN", x, net.constant(np.array([1, 2], np.int32)), keepDims=True)
    x = net.conv(x, drawn(classes, 1, 1, net.shape(x)[-1]), random.normal(size=classes))
    x = net.op("RESHAPE", x, net.constant(np.array([-1, classes], np.int32)))
    return net.finish(net.op("SOFTMAX", x, beta=1.0))
