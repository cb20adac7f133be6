"""Operators that move elements, or leave some out."""

import jax
import jax.numpy as jnp
import numpy as np

from secateur_server.pruning.distillation.operators.call import (
    Call,
    Kernel,
    NotDifferentiableError,
)

SYMMETRIC = 1
"""TFLite's code of a MIRROR_PAD that repeats the edge."""


def _reshape(call: Call) -> jax.Array:
    return call.array(0).reshape(call.shape)


def _transpose(call: Call) -> jax.Array:
    return call.array(0).transpose([int(axis) for axis in call.constant(1)])


def _concatenation(call: Call) -> jax.Array:
    parts = [call.array(slot) for slot in range(len(call.inputs))]
    return jnp.concatenate(parts, axis=call.options.axis)


def _split(call: Call) -> tuple[jax.Array, ...]:
    axis = int(np.ravel(call.constant(0))[0])
    return tuple(jnp.split(call.array(1), len(call.operator.outputs), axis))


def _split_v(call: Call) -> tuple[jax.Array, ...]:
    axis = int(np.ravel(call.constant(2))[0])
    sizes = [call.graph.tensors[output].shape[axis] for output in call.operator.outputs]
    return tuple(jnp.split(call.array(0), np.cumsum(sizes)[:-1].tolist(), axis))


def _pad(call: Call) -> jax.Array:
    """PAD and PADV2, whose third input is what to pad with."""
    value = call.optional(2)
    fill = 0.0 if value is None else value.reshape(())
    return jnp.pad(call.array(0), _widths(call), constant_values=fill)


def _mirror_pad(call: Call) -> jax.Array:
    mode = "symmetric" if call.options.mode == SYMMETRIC else "reflect"
    return jnp.pad(call.array(0), _widths(call), mode=mode)


def _widths(call: Call) -> list[tuple[int, int]]:
    pairs = call.constant(1).reshape(-1, 2).tolist()
    return [(int(before), int(after)) for before, after in pairs]


def _slice(call: Call) -> jax.Array:
    begins = call.constant(1).ravel().tolist()
    return call.array(0)[
        tuple(
            slice(begin, begin + size) for begin, size in zip(begins, call.shape, strict=True)
        )
    ]


def _strided_slice(call: Call) -> jax.Array:
    """As numpy's indexing, with each part written as numbers and bits."""
    options = call.options
    taken: list[slice | int | None] = []
    begins, ends, strides = (call.constant(slot).ravel().tolist() for slot in (1, 2, 3))
    for k, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        bit = 1 << k
        if options.ellipsisMask & bit:
            raise NotDifferentiableError("it has an ellipsis")
        if options.newAxisMask & bit:
            taken.append(None)
        elif options.shrinkAxisMask & bit:
            taken.append(begin)
        else:
            first = None if options.beginMask & bit else begin
            last = None if options.endMask & bit else end
            taken.append(slice(first, last, stride))
    return call.array(0)[tuple(taken)]


def _tile(call: Call) -> jax.Array:
    return jnp.tile(call.array(0), call.constant(1).ravel().tolist())


def _gather(call: Call) -> jax.Array:
    if call.options.batchDims:
        raise NotDifferentiableError("it gathers within batches")
    return jnp.take(call.array(0), call.array(1).astype(jnp.int32), axis=call.options.axis)


def _space_to_depth(call: Call) -> jax.Array:
    block, (batch, height, width, depth) = call.options.blockSize, call.array(0).shape
    cut = call.array(0).reshape(batch, height // block, block, width // block, block, depth)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(call.shape)


def _depth_to_space(call: Call) -> jax.Array:
    block, (batch, height, width, _) = call.options.blockSize, call.array(0).shape
    cut = call.array(0).reshape(batch, height, width, block, block, -1)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(call.shape)


def _space_to_batch(call: Call) -> jax.Array:
    """Cut each block of the plane into samples, after padding it."""
    blocks = [int(size) for size in call.constant(1).ravel()]
    pads = [(0, 0), *call.constant(2).reshape(-1, 2).tolist()]
    x = call.array(0)
    x = jnp.pad(x, [*pads, *[(0, 0)] * (x.ndim - len(pads))])
    rest = x.shape[1 + len(blocks) :]
    inner = [
        each for k, block in enumerate(blocks) for each in (x.shape[1 + k] // block, block)
    ]
    cut = x.reshape(x.shape[0], *inner, *rest)
    offsets = [2 * k + 2 for k in range(len(blocks))]
    others = [axis for axis in range(cut.ndim) if axis not in offsets]
    return cut.transpose([*offsets, *others]).reshape(call.shape)


def _batch_to_space(call: Call) -> jax.Array:
    """Undo `_space_to_batch`: crop after putting the samples back into the plane."""
    blocks = [int(size) for size in call.constant(1).ravel()]
    crops = call.constant(2).reshape(-1, 2).tolist()
    x, count = call.array(0), len(blocks)
    cut = x.reshape(*blocks, -1, *x.shape[1:])
    order = [count, *[each for k in range(count) for each in (count + 1 + k, k)]]
    cut = cut.transpose([*order, *range(2 * count + 1, cut.ndim)])
    plane = [size * block for size, block in zip(x.shape[1:], blocks, strict=False)]
    whole = cut.reshape(-1, *plane, *x.shape[1 + count :])
    kept = [
        slice(before, size - after) for (before, after), size in zip(crops, plane, strict=True)
    ]
    return whole[(slice(None), *kept)]


def _pack(call: Call) -> jax.Array:
    parts = [call.array(slot) for slot in range(len(call.inputs))]
    return jnp.stack(parts, axis=call.options.axis)


def _unpack(call: Call) -> tuple[jax.Array, ...]:
    x, axis = call.array(0), call.options.axis
    return tuple(jnp.take(x, k, axis=axis) for k in range(len(call.operator.outputs)))


def _shape(call: Call) -> jax.Array:
    return jnp.array(call.array(0).shape, jnp.int32)


KERNELS: dict[str, Kernel] = {
    "BATCH_TO_SPACE_ND": _batch_to_space,
    "CONCATENATION": _concatenation,
    "DEPTH_TO_SPACE": _depth_to_space,
    "EXPAND_DIMS": _reshape,
    "GATHER": _gather,
    "MIRROR_PAD": _mirror_pad,
    "PACK": _pack,
    "PAD": _pad,
    "PADV2": _pad,
    "RESHAPE": _reshape,
    "SHAPE": _shape,
    "SLICE": _slice,
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "SPACE_TO_DEPTH": _space_to_depth,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "TILE": _tile,
    "TRANSPOSE": _transpose,
    "UNPACK": _unpack,
}
