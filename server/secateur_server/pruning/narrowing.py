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
    shape = after.tensors[operator.outputs[0]].shape
    stated = getattr(operator.options, "newShape", None)
    if stated is not None and len(stated):
        options = copy.copy(operator.options)
        options.newShape = _restate(np.asarray(stated, np.int32), shape)
        operators = list(after.operators)
        operators[operator.index] = replace(after.operators[operator.index], options=options)
        after = replace(after, operators=tuple(operators))
    target = before.values(operator.inputs[1]) if len(operator.inputs) > 1 else None
    if target is None:
        return after
    return after.with_constant(operator.index, 1, _restate(target, shape))


def _transpose_conv(
    before: Graph, after: Graph, operator: Operator, _channels: Channels, _stays: Stays
) -> Graph:
    target = before.values(operator.inputs[0])
    shape = after.tensors[operator.outputs[0]].shape
    return (
        after
        if target is None
        else after.with_constant(operator.index, 0, _restate(target, shape))
    )


def _split_v(
    before: Graph, after: Graph, operator: Operator, _channels: Channels, _stays: Stays
) -> Graph:
    axis = before.values(operator.inputs[2])
    sizes = before.values(operator.inputs[1])
    if axis is None or sizes is None:
        return after
    along = int(np.ravel(axis)[0])
    written = [after.tensors[output].shape[along] for output in operator.outputs]
    return after.with_constant(operator.index, 1, np.array(written, sizes.dtype))


def _slice(
    before: Graph, after: Graph, operator: Operator, channels: Channels, stays: Stays
) -> Graph:
    begin, size = (before.values(operator.inputs[slot]) for slot in (1, 2))
    if begin is None or size is None:
        return after
    source, shape = operator.inputs[0], after.tensors[operator.outputs[0]].shape
    begins = [
        int(stays[channels.ids(before, source, axis)[: int(first)]].sum())
        for axis, first in enumerate(begin)
    ]
    after = after.with_constant(operator.index, 1, np.array(begins, begin.dtype))
    return after.with_constant(operator.index, 2, _restate(size, shape))


def _strided_slice(
    before: Graph, after: Graph, operator: Operator, _channels: Channels, _stays: Stays
) -> Graph:
    end = before.values(operator.inputs[2])
    if end is None:
        return after
    changed = [
        shape_after if shape_before != shape_after and last >= shape_before else last
        for last, shape_before, shape_after in zip(
            end.tolist(),
            before.tensors[operator.inputs[0]].shape,
            after.tensors[operator.inputs[0]].shape,
            strict=True,
        )
    ]
    return after.with_constant(operator.index, 2, np.array(changed, end.dtype))


def _restate(stated: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Write a shape down as it was: -1 stays -1, and the batch axis stays what it was."""
    changed = stated.copy()
    for axis in range(1, len(shape)):
        if stated[axis] != -1:
            changed[axis] = shape[axis]
    return changed


_Rewrite = Callable[[Graph, Graph, Operator, Channels, Stays], Graph]
_REWRITES: dict[str, _Rewrite] = {
    "RESHAPE": _reshape,
    "SLICE": _slice,
    "SPLIT_V": _split_v,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE_CONV": _transpose_conv,
}
