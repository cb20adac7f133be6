"""Operators that look at one element, or at two in the same place."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from secateur_server.pruning.distillation.operators.call import Call, Kernel

Unary = Callable[[jax.Array], jax.Array]
Binary = Callable[[jax.Array, jax.Array], jax.Array]

ACTIVATIONS: dict[int, Unary] = {
    0: lambda x: x,
    1: jax.nn.relu,
    2: lambda x: jnp.clip(x, -1, 1),
    3: lambda x: jnp.clip(x, 0, 6),
    4: jnp.tanh,
    5: jnp.sign,
}
"""By TFLite's code of a fused activation."""


def unary(function: Unary) -> Kernel:
    """Make a kernel of a function of one array."""
    return lambda call: function(call.array(0))


def binary(function: Binary) -> Kernel:
    """Make a kernel of a function of two arrays, which broadcast as numpy's do."""
    return lambda call: function(call.array(0), call.array(1))


def _cast(call: Call) -> jax.Array:
    output = call.graph.tensors[call.operator.outputs[0]]
    if output.is_real or output.dtype is None:
        return call.array(0).astype(jnp.float32)
    return call.array(0).astype(jnp.bool_ if output.dtype.kind == "b" else jnp.int32)


def _gelu(call: Call) -> jax.Array:
    return jax.nn.gelu(call.array(0), approximate=bool(call.options.approximate))


def _add_n(call: Call) -> jax.Array:
    arrays = [call.array(slot) for slot in range(len(call.inputs))]
    return jnp.stack(arrays).sum(axis=0)


def _fake_quant(call: Call) -> jax.Array:
    """Round to the codes of a range; the gradient passes where the range is not left.

    Source:
        TFLite's reference kernel ``fake_quant.h``, which moves the range so that zero has
        a code.
    """
    options, x = call.options, call.array(0)
    least, most = float(options.narrowRange), float(2**options.numBits - 1)
    scale = (options.max - options.min) / (most - least)
    zero = min(max(round(least - options.min / scale), least), most)
    clipped = jnp.clip(x, (least - zero) * scale, (most - zero) * scale)
    rounded = jnp.round(clipped / scale) * scale
    found: jax.Array = clipped + jax.lax.stop_gradient(rounded - clipped)
    return found


def _select(call: Call) -> jax.Array:
    return jnp.where(call.array(0), call.array(1), call.array(2))


def _leaky_relu(call: Call) -> jax.Array:
    return jax.nn.leaky_relu(call.array(0), call.options.alpha)


def _prelu(call: Call) -> jax.Array:
    x = call.array(0)
    return jnp.maximum(x, 0) + call.array(1) * jnp.minimum(x, 0)


KERNELS: dict[str, Kernel] = {
    "ABS": unary(jnp.abs),
    "CAST": _cast,
    "CEIL": unary(jnp.ceil),
    "COS": unary(jnp.cos),
    "DEQUANTIZE": unary(lambda x: x),
    "ELU": unary(jax.nn.elu),
    "EXP": unary(jnp.exp),
    "FAKE_QUANT": _fake_quant,
    "FLOOR": unary(jnp.floor),
    "GELU": _gelu,
    "HARD_SWISH": unary(jax.nn.hard_swish),
    "LEAKY_RELU": _leaky_relu,
    "LOG": unary(jnp.log),
    "LOGICAL_NOT": unary(jnp.logical_not),
    "LOGISTIC": unary(jax.nn.sigmoid),
    "NEG": unary(jnp.negative),
    "QUANTIZE": unary(lambda x: x),
    "RELU": unary(ACTIVATIONS[1]),
    "RELU6": unary(ACTIVATIONS[3]),
    "RELU_0_TO_1": unary(lambda x: jnp.clip(x, 0, 1)),
    "RELU_N1_TO_1": unary(ACTIVATIONS[2]),
    "ROUND": unary(jnp.round),
    "RSQRT": unary(jax.lax.rsqrt),
    "SIGN": unary(jnp.sign),
    "SIN": unary(jnp.sin),
    "SQRT": unary(jnp.sqrt),
    "SQUARE": unary(jnp.square),
    "TANH": unary(jnp.tanh),
    "ZEROS_LIKE": unary(jnp.zeros_like),
    "ADD": binary(jnp.add),
    "ADD_N": _add_n,
    "ATAN2": binary(jnp.arctan2),
    "DIV": binary(jnp.divide),
    "EQUAL": binary(jnp.equal),
    "FLOOR_DIV": binary(jnp.floor_divide),
    "FLOOR_MOD": binary(jnp.mod),
    "GREATER": binary(jnp.greater),
    "GREATER_EQUAL": binary(jnp.greater_equal),
    "LESS": binary(jnp.less),
    "LESS_EQUAL": binary(jnp.less_equal),
    "LOGICAL_AND": binary(jnp.logical_and),
    "LOGICAL_OR": binary(jnp.logical_or),
    "MAXIMUM": binary(jnp.maximum),
    "MINIMUM": binary(jnp.minimum),
    "MUL": binary(jnp.multiply),
    "NOT_EQUAL": binary(jnp.not_equal),
    "POW": binary(jnp.power),
    "PRELU": _prelu,
    "SELECT_V2": _select,
    "SQUARED_DIFFERENCE": binary(lambda a, b: jnp.square(a - b)),
    "SUB": binary(jnp.subtract),
}
