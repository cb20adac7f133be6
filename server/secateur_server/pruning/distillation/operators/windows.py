"""Pools, and where a window lies on the plane."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from secateur_server.pruning.distillation.operators.call import Call, Kernel
from secateur_server.pruning.linear import SAME, padding_before


def padding(
    shape: tuple[int, ...],
    window: tuple[int, ...],
    options: Any,  # noqa: ANN401 - a generated object
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Say how many elements stand before and after the plane, by height and width.

    Args:
        shape: Of the input, [n, h, w, c].
        window: Taps, [h, w].
        options: With padding, strides and, of a convolution, dilations.
    """
    if options.padding != SAME:
        return (0, 0), (0, 0)
    strides = (options.strideH, options.strideW)
    dilations = (
        getattr(options, "dilationHFactor", 1),
        getattr(options, "dilationWFactor", 1),
    )
    rows, columns = (
        _around(size, (taps - 1) * dilation + 1, stride)
        for size, taps, dilation, stride in zip(
            shape[1:3], window, dilations, strides, strict=True
        )
    )
    return rows, columns


def _around(size: int, span: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    before = padding_before(size, span, stride)
    return before, total - before


def _average_pool(call: Call) -> jax.Array:
    """Of the elements that are there: padding does not count."""
    return _sum_of(call, call.array(0)) / _counts(call)


def _l2_pool(call: Call) -> jax.Array:
    return jnp.sqrt(_sum_of(call, jnp.square(call.array(0))) / _counts(call))


def _max_pool(call: Call) -> jax.Array:
    window, strides, pads = _window(call)
    x = call.array(0)
    found: jax.Array = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, pads)
    return found


def _sum_of(call: Call, x: jax.Array) -> jax.Array:
    window, strides, pads = _window(call)
    found: jax.Array = lax.reduce_window(x, 0.0, lax.add, window, strides, pads)
    return found


def _counts(call: Call) -> jax.Array:
    return _sum_of(call, jnp.ones((1, *call.array(0).shape[1:3], 1), np.float32))


_Window = tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]


def _window(call: Call) -> _Window:
    options = call.options
    taps = (options.filterHeight, options.filterWidth)
    rows, columns = padding(call.array(0).shape, taps, options)
    strides = (1, options.strideH, options.strideW, 1)
    return (1, *taps, 1), strides, ((0, 0), rows, columns, (0, 0))


KERNELS: dict[str, Kernel] = {
    "AVERAGE_POOL_2D": _average_pool,
    "L2_POOL_2D": _l2_pool,
    "MAX_POOL_2D": _max_pool,
}
