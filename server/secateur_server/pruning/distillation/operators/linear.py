"""Operators with weights, in the layouts of TFLite."""

import jax
import jax.numpy as jnp
from jax import lax

from secateur_server.pruning.distillation.operators.call import (
    Call,
    Kernel,
    NotDifferentiableError,
)
from secateur_server.pruning.distillation.operators.windows import padding
from secateur_server.pruning.linear import SAME, padding_before

NHWC_OHWI = ("NHWC", "OHWI", "NHWC")


def _conv_2d(call: Call) -> jax.Array:
    """Weights [out, h, w, in / groups]."""
    x, weights, options = call.array(0), call.array(1), call.options
    found = lax.conv_general_dilated(
        x,
        weights,
        window_strides=(options.strideH, options.strideW),
        padding=padding(x.shape, weights.shape[1:3], options),
        rhs_dilation=(options.dilationHFactor, options.dilationWFactor),
        dimension_numbers=NHWC_OHWI,
        feature_group_count=x.shape[-1] // weights.shape[-1],
    )
    return _with_bias(found, call.optional(2))


def _depthwise_conv_2d(call: Call) -> jax.Array:
    """Weights [1, h, w, in x multiplier].

    As a sum over the taps: on a CPU, XLA runs that 10 to 25 times faster than a convolution
    with as many groups as channels.
    """
    x, weights, options = call.array(0), call.array(1), call.options
    repeated = jnp.repeat(x, weights.shape[-1] // x.shape[-1], axis=-1)
    pads = padding(x.shape, weights.shape[1:3], options)
    padded = jnp.pad(repeated, [(0, 0), *pads, (0, 0)])
    _, height, width, _ = call.shape
    taps = []
    for row in range(weights.shape[1]):
        top = row * options.dilationHFactor
        for column in range(weights.shape[2]):
            left = column * options.dilationWFactor
            tap = padded[
                :,
                top : top + (height - 1) * options.strideH + 1 : options.strideH,
                left : left + (width - 1) * options.strideW + 1 : options.strideW,
            ]
            taps.append(tap * weights[0, row, column])
    return _with_bias(sum(taps[1:], taps[0]), call.optional(2))


def _transpose_conv(call: Call) -> jax.Array:
    """Weights [out, h, w, in]: a convolution of the input with zeros between its elements."""
    weights, x, options = call.array(1), call.array(2), call.options
    pads = []
    for axis, stride in ((1, options.strideH), (2, options.strideW)):
        size, taps = call.shape[axis], weights.shape[axis]
        before = padding_before(size, taps, stride) if options.padding == SAME else 0
        low = taps - 1 - before
        pads.append((low, size + taps - 1 - low - ((x.shape[axis] - 1) * stride + 1)))
    found = lax.conv_general_dilated(
        x,
        weights[:, ::-1, ::-1],
        window_strides=(1, 1),
        padding=pads,
        lhs_dilation=(options.strideH, options.strideW),
        dimension_numbers=NHWC_OHWI,
    )
    return _with_bias(found, call.optional(3))


def _fully_connected(call: Call) -> jax.Array:
    """Weights [out, in]; an input of more axes is flattened."""
    if call.options.weightsFormat:
        raise NotDifferentiableError("its weights are shuffled")
    weights = call.array(1)
    found = call.array(0).reshape(-1, weights.shape[1]) @ weights.T
    return _with_bias(found, call.optional(2)).reshape(call.shape)


def _batch_matmul(call: Call) -> jax.Array:
    x, y = call.array(0), call.array(1)
    x = x.swapaxes(-1, -2) if call.options.adjX else x
    return x @ (y.swapaxes(-1, -2) if call.options.adjY else y)


def _with_bias(found: jax.Array, bias: jax.Array | None) -> jax.Array:
    return found if bias is None else found + bias


KERNELS: dict[str, Kernel] = {
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "FULLY_CONNECTED": _fully_connected,
    "TRANSPOSE_CONV": _transpose_conv,
}
