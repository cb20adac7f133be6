"""The same network with fewer channels: shapes, constants and what operators say of shapes."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.channels import Channels
from secateur_server.pruning.graph import Graph, Operator, Tensor

Stays = npt.NDArray[np.bool_]
"""Whether each unit stays, by number; `FIXED` always does."""


def everything(channels: Channels) -> Stays:
    """Let every channel stay."""
    return np.ones(channels.units, np.bool_)


def narrow(graph: Graph, channels: Channels, stays: Stays) -> Graph:
    """Take the channels that do not stay out of every tensor.

    Returns:
        A graph with the same tensors and operators, by the same numbers; constants that
        write down a shape for one operator are added at the end.
    """
    tensors = tuple(_narrow_tensor(tensor, channels, stays) for tensor in graph.tensors)
    narrowed = replace(graph, tensors=tensors)
    for operator in graph.operators:
        rewrite = _REWRITES.get(operator.kind)
        if rewrite is not None and _has_changed(graph, narrowed, operator):
            narrowed = rewrite(graph, narrowed, operator, channels, stays)
    return narrowed


def _narrow_tensor(tensor: Tensor, channels: Channels, stays: Stays) -> Tensor:
    for axis, ids in channels.axes.get(tensor.storage, {}).items():
        keep = np.flatnonzero(stays[ids])
        if len(keep) == len(ids):
            continue
        shape = (*tensor.shape[:axis], len(keep), *tensor.shape[axis + 1 :])
        values, quantization = tensor.values, tensor.quantization
        tensor = replace(
            tensor,
            shape=shape,
            values=None if values is None else values.take(keep, axis=axis),
            quantization=None if quantization is None else quantization.take(axis, keep),
        )
    return tensor


def _has_changed(before: Graph, after: Graph, operator: Operator) -> bool:
    return any(
        before.tensors[k].shape != after.tensors[k].shape
        for k in (*operator.inputs, *operator.outputs)
        if k >= 0
    )


def _reshape(
    before: Graph, after: Graph, operator: Operator, _channels: Channels, _stays: Stays
) -> Graph:
    stated = getattr(operator.options, "newShape", None)
    if stated is not None and len(stated):
        changed = _restate(np.asarray(stated, np.int32), *_shapes(before, after, operator))
        after = _with_options(after, operator, newShape=changed)
    return _restate_input(before, after, operator, 1) if len(operator.inputs) > 1 else after


def _squeeze(
    before: Graph, after: Graph, operator: Operator, _channels: Channels, _stays: Stays
) -> Graph:
    """Say which axes go: one whose last channel but one has left is not among them."""
    if operator.options.squeezeDims is not None and len(operator.options.squeezeDims):
        return after
    shape = before.tensors[operator.inputs[0]].shape
    axes = np.array([axis for axis, size in enumerate(shape) if size == 1], np.int32)
    return _with_options(after, operator, squeezeDims=axes) if len(axes) else after


def _transpose_conv(
    before: Graph, after: Graph, operator: Operator, _channels: Channels, _stays: Stays
) -> Graph:
    return _restate_input(before, after, operator, 0)


def _depthwise(
    _before: Graph, after: Graph, operator: Operator, _channels: Channels, _stays: Stays
) -> Graph:
    source, output = operator.inputs[0], operator.outputs[0]
    multiplier = after.tensors[output].shape[-1] // after.tensors[source].shape[-1]
    return _with_options(after, operator, depthMultiplier=multiplier)


def _split_v(
    before: Graph, after: Graph, operator: Operator, _channels: Channels, _stays: Stays
) -> Graph:
    axis, sizes = (before.values(operator.inputs[slot]) for slot in (2, 1))
    if axis is None or sizes is None:
        return after
    along = int(np.ravel(axis)[0])
    written = [after.tensors[output].shape[along] for output in operator.outputs]
    return after.with_constant(operator.index, 1, np.array(written, sizes.dtype))


def _pad(
    before: Graph, after: Graph, operator: Operator, channels: Channels, stays: Stays
) -> Graph:
    stated = before.values(operator.inputs[1])
    if stated is None:
        return after
    changed = stated.copy()
    for axis, (first, last) in enumerate(stated.reshape(-1, 2).tolist()):
        kept = stays[channels.ids(before, operator.outputs[0], axis)]
        sums = kept[:first].sum(), kept[len(kept) - last :].sum()
        changed.reshape(-1, 2)[axis] = sums
    return after.with_constant(operator.index, 1, changed)


def _slice(
    before: Graph, after: Graph, operator: Operator, channels: Channels, stays: Stays
) -> Graph:
    begin, size = (before.values(operator.inputs[slot]) for slot in (1, 2))
    if begin is None or size is None:
        return after
    begins = _count(before, operator, channels, stays, begin)
    after = after.with_constant(operator.index, 1, begins)
    changed = _restate(size, *_shapes(before, after, operator))
    return after.with_constant(operator.index, 2, changed)


def _strided_slice(
    before: Graph, after: Graph, operator: Operator, channels: Channels, stays: Stays
) -> Graph:
    for slot in (1, 2):
        stated = before.values(operator.inputs[slot])
        if stated is not None:
            counted = _count(before, operator, channels, stays, stated)
            after = after.with_constant(operator.index, slot, counted)
    return after


def _count(
    before: Graph,
    operator: Operator,
    channels: Channels,
    stays: Stays,
    stated: npt.NDArray[Any],
) -> npt.NDArray[Any]:
    """Move places along the axes of an operator's input to where they are now."""
    moved = stated.copy()
    for axis, place in enumerate(stated.tolist()):
        ids = channels.ids(before, operator.inputs[0], axis)
        if ids.any():
            moved[axis] = int(stays[ids[: int(place)]].sum())
    return moved


def _restate_input(before: Graph, after: Graph, operator: Operator, slot: int) -> Graph:
    """Write a shape anew, where the whole of it is a constant or where it is packed."""
    stated, shapes = operator.inputs[slot], _shapes(before, after, operator)
    target = before.values(stated)
    if target is not None:
        return after.with_constant(operator.index, slot, _restate(target, *shapes))
    maker = before.maker(stated)
    if maker is None or maker.kind != "PACK":
        return after
    for axis, (was, now) in enumerate(zip(*shapes, strict=True)):
        length = before.values(maker.inputs[axis])
        if was != now and length is not None and int(length.ravel()[0]) != -1:
            after = after.with_constant(
                maker.index, axis, np.full(length.shape, now, length.dtype)
            )
    return after


def _restate(
    stated: npt.NDArray[Any], was: tuple[int, ...], now: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Write a shape down where it changed; -1 stays -1."""
    changed = stated.copy()
    if len(stated) == len(now):
        for axis in range(len(now)):
            if was[axis] != now[axis] and stated[axis] != -1:
                changed[axis] = now[axis]
    return changed


def _shapes(
    before: Graph, after: Graph, operator: Operator
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    output = operator.outputs[0]
    return before.tensors[output].shape, after.tensors[output].shape


def _with_options(graph: Graph, operator: Operator, **fields: object) -> Graph:
    options = copy.copy(operator.options)
    for name, value in fields.items():
        setattr(options, name, value)
    operators = list(graph.operators)
    operators[operator.index] = replace(graph.operators[operator.index], options=options)
    return replace(graph, operators=tuple(operators))


_Rewrite = Callable[[Graph, Graph, Operator, Channels, Stays], Graph]
_REWRITES: dict[str, _Rewrite] = {
    "DEPTHWISE_CONV_2D": _depthwise,
    "PAD": _pad,
    "PADV2": _pad,
    "RESHAPE": _reshape,
    "SLICE": _slice,
    "SPLIT_V": _split_v,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE_CONV": _transpose_conv,
}
