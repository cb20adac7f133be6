"""Operators that put many elements into one, or set them against each other."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from secateur_server.pruning.distillation.operators.call import Call, Kernel

SMALLEST_NORM = 1e-6
"""As in TFLite's L2_NORMALIZATION."""


def _reduce(function: Callable[..., jax.Array]) -> Kernel:
    def kernel(call: Call) -> jax.Array:
        axes = tuple(int(axis) for axis in call.constant(1).ravel())
        return function(call.array(0), axis=axes).reshape(call.shape)

    return kernel


def _softmax(call: Call) -> jax.Array:
    return jax.nn.softmax(call.array(0) * call.options.beta)


def _log_softmax(call: Call) -> jax.Array:
    return jax.nn.log_softmax(call.array(0))


def _l2_normalization(call: Call) -> jax.Array:
    x = call.array(0)
    squares = jnp.square(x).sum(axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(squares, SMALLEST_NORM**2))


KERNELS: dict[str, Kernel] = {
    "L2_NORMALIZATION": _l2_normalization,
    "LOG_SOFTMAX": _log_softmax,
    "MEAN": _reduce(jnp.mean),
    "REDUCE_MAX": _reduce(jnp.max),
    "REDUCE_MIN": _reduce(jnp.min),
    "REDUCE_PROD": _reduce(jnp.prod),
    "SOFTMAX": _softmax,
    "SUM": _reduce(jnp.sum),
}
