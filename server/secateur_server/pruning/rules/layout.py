"""Operators that move elements: channels go with them."""

import numpy as np

from secateur_server.pruning.flow import CannotFollowError, Flow, Rule
from secateur_server.pruning.graph import Operator
from secateur_server.pruning.units import Ids


def reshape(flow: Flow, operator: Operator) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the order of the elements stays."""
    source, output = operator.inputs[0], operator.outputs[0]
    flow.settle(output, flow.lift(source).reshape(flow.shape(output)))
    if operator.kind != "RESHAPE" or len(operator.inputs) == 1:
        return
    for axis in range(flow.rank(output)):
        is_stated = flow.graph.states_axis(operator.inputs[1], axis)
        if flow.ids(output, axis).any() and not is_stated:
            raise CannotFollowError("its shape is computed")


def shape(flow: Flow, operator: Operator) -> None:
    """Whoever asks for the length of an axis with channels would get another answer."""
    source, output = operator.inputs[0], operator.outputs[0]
    every = range(flow.rank(source))
    asked = set(every if output in flow.graph.outputs else ())
    for user in flow.graph.users(output):
        asked.update(_asked_axes(flow, flow.graph.operators[user], flow.rank(source)))
    if any(flow.ids(source, axis).any() for axis in asked):
        raise CannotFollowError("its result depends on how many channels there are")
    for axis in every:
        flow.ids(source, axis)


def _asked_axes(flow: Flow, user: Operator, rank: int) -> set[int]:
    """Give the elements of a shape that an operator takes; of an unknown one all."""
    starts = flow.graph.values(user.inputs[1]) if len(user.inputs) > 1 else None
    is_plain = user.kind == "SLICE"
    if user.kind == "STRIDED_SLICE" and not user.options.beginMask:
        stride = flow.graph.values(user.inputs[3])
        is_plain = stride is not None and int(np.ravel(stride)[0]) == 1
    if starts is None or not is_plain:
        return set(range(rank))
    begin, length = int(np.ravel(starts)[0]), int(np.prod(flow.shape(user.outputs[0])))
    return {axis % rank for axis in range(begin, begin + length)}


def transpose(flow: Flow, operator: Operator) -> None:
    """Axis k of the output is axis ``order[k]`` of the input."""
    for position, axis in enumerate(_constant(flow, operator, 1)):
        flow.bind(operator.outputs[0], position, flow.ids(operator.inputs[0], int(axis)))


def concatenation(flow: Flow, operator: Operator) -> None:
    """One after the other along an axis; along the others all are tied."""
    output = operator.outputs[0]
    along = operator.options.axis % flow.rank(output)
    for axis in range(flow.rank(output)):
        parts = [flow.ids(k, axis) for k in operator.inputs]
        if axis == along:
            flow.bind(output, axis, np.concatenate(parts))
        else:
            for part in parts:
                flow.bind(output, axis, part)


def split(flow: Flow, operator: Operator) -> None:
    """SPLIT: equal parts stay equal, so that their channels leave index by index."""
    source = operator.inputs[1]
    along = int(np.ravel(_constant(flow, operator, 0))[0]) % flow.rank(source)
    parts = np.split(flow.ids(source, along), len(operator.outputs))
    for part in parts[1:]:
        flow.units.tie(parts[0], part)
    _share(flow, source, operator.outputs, along, parts)


def split_v(flow: Flow, operator: Operator) -> None:
    """SPLIT_V: parts of sizes that are written down, and written anew."""
    source = operator.inputs[0]
    along = int(np.ravel(_constant(flow, operator, 2))[0]) % flow.rank(source)
    sizes = [flow.shape(output)[along] for output in operator.outputs]
    parts = np.split(flow.ids(source, along), np.cumsum(sizes)[:-1])
    _share(flow, source, operator.outputs, along, parts)


def pad(flow: Flow, operator: Operator) -> None:
    """Padding beside channels may leave like these: what is added to them does with it."""
    source, output = operator.inputs[0], operator.outputs[0]
    paddings = np.reshape(_constant(flow, operator, 1), (-1, 2)).tolist()
    for axis, (before, after) in enumerate(paddings):
        ids = flow.ids(source, axis)
        if before < 0 or after < 0 or len(ids) + before + after != flow.shape(output)[axis]:
            raise CannotFollowError("its output has another shape")
        if not ids.any():
            flow.bind(output, axis, np.pad(ids, (before, after)))
        elif operator.kind == "MIRROR_PAD" and (before or after):
            raise CannotFollowError("it mirrors channels")
        else:
            added = flow.units.make(before), flow.units.make(after)
            flow.bind(output, axis, np.concatenate([added[0], ids, added[1]]))


def slice_(flow: Flow, operator: Operator) -> None:
    """SLICE: from ``begin``, as long as the output."""
    source, output = operator.inputs[0], operator.outputs[0]
    _constant(flow, operator, 2)
    for axis, begin in enumerate(np.ravel(_constant(flow, operator, 1))):
        length = flow.shape(output)[axis]
        flow.bind(output, axis, flow.ids(source, axis)[int(begin) : int(begin) + length])


def strided_slice(flow: Flow, operator: Operator) -> None:
    """STRIDED_SLICE: whole axes, or a part of one in steps of 1."""
    source, output = operator.inputs[0], operator.outputs[0]
    options = operator.options
    begin, end, stride = (np.ravel(_constant(flow, operator, slot)) for slot in (1, 2, 3))
    is_moved = options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask
    for axis in range(flow.rank(source)):
        ids = flow.ids(source, axis)
        if not ids.any():
            continue
        if is_moved or getattr(options, "offset", False):
            raise CannotFollowError("it moves channels")
        if axis < len(stride):
            if stride[axis] != 1 or begin[axis] < 0 or end[axis] < 0:
                raise CannotFollowError("it steps over channels or counts from the end")
            first = 0 if options.beginMask >> axis & 1 else int(begin[axis])
            last = len(ids) if options.endMask >> axis & 1 else int(end[axis])
            ids = ids[first:last]
        flow.bind(output, axis, ids)


def tile(flow: Flow, operator: Operator) -> None:
    """Copies, one after the other along an axis."""
    for axis, count in enumerate(np.ravel(_constant(flow, operator, 1))):
        ids = flow.ids(operator.inputs[0], axis)
        if len(ids) * int(count) != flow.shape(operator.outputs[0])[axis]:
            raise CannotFollowError("its output has another shape")
        flow.bind(operator.outputs[0], axis, np.tile(ids, int(count)))


def gather(flow: Flow, operator: Operator) -> None:
    """GATHER along an axis without channels; elsewhere they stay where they are.

    Rows of a constant are an embedding: its columns are channels that begin here.
    """
    source, output = operator.inputs[0], operator.outputs[0]
    along, last = operator.options.axis % flow.rank(source), flow.rank(source) - 1
    if operator.options.batchDims or flow.ids(source, along).any():
        raise CannotFollowError("it picks channels")
    if flow.graph.tensors[source].values is not None and along < last:
        flow.bind(source, last, flow.make(output, -1))
        return
    added = flow.rank(output) - flow.rank(source)
    for axis in set(range(flow.rank(source))) - {along}:
        flow.bind(output, axis + added * (axis > along), flow.ids(source, axis))


def embedding_lookup(flow: Flow, operator: Operator) -> None:
    """Rows of a table, by number: its columns are channels that begin here."""
    flow.bind(operator.inputs[1], -1, flow.make(operator.outputs[0], -1))


def space_to_depth(flow: Flow, operator: Operator) -> None:
    """Output channel (row, column, c) is input channel c."""
    block = operator.options.blockSize
    flow.bind(operator.outputs[0], -1, np.tile(flow.ids(operator.inputs[0], -1), block**2))


def depth_to_space(flow: Flow, operator: Operator) -> None:
    """Input channel (row, column, c) becomes output channel c: all of one c are tied."""
    blocks = np.split(flow.ids(operator.inputs[0], -1), operator.options.blockSize**2)
    for block in blocks:
        flow.bind(operator.outputs[0], -1, block)


def pack(flow: Flow, operator: Operator) -> None:
    """Stacked along a new axis: all the others are tied."""
    output = operator.outputs[0]
    along = operator.options.axis % flow.rank(output)
    for operand in operator.inputs:
        for axis in range(flow.rank(operand)):
            flow.bind(output, axis + (axis >= along), flow.ids(operand, axis))


def unpack(flow: Flow, operator: Operator) -> None:
    """Taken apart along an axis without channels."""
    source = operator.inputs[0]
    along = operator.options.axis % flow.rank(source)
    if flow.ids(source, along).any():
        raise CannotFollowError("it takes channels apart")
    for output in operator.outputs:
        for axis in range(flow.rank(output)):
            flow.bind(output, axis, flow.ids(source, axis + (axis >= along)))


def _constant(flow: Flow, operator: Operator, slot: int) -> Ids:
    values = flow.graph.values(operator.inputs[slot])
    if values is None:
        raise CannotFollowError("its axes or sizes are computed")
    return values


def _share(
    flow: Flow, source: int, outputs: tuple[int, ...], along: int, parts: list[Ids]
) -> None:
    for output, part in zip(outputs, parts, strict=True):
        for axis in range(flow.rank(source)):
            flow.bind(output, axis, part if axis == along else flow.ids(source, axis))


RULES: dict[str, Rule] = {
    "CONCATENATION": concatenation,
    "DEPTH_TO_SPACE": depth_to_space,
    "EMBEDDING_LOOKUP": embedding_lookup,
    "EXPAND_DIMS": reshape,
    "GATHER": gather,
    "MIRROR_PAD": pad,
    "PACK": pack,
    "PAD": pad,
    "PADV2": pad,
    "RESHAPE": reshape,
    "SHAPE": shape,
    "SLICE": slice_,
    "SPACE_TO_DEPTH": space_to_depth,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "SQUEEZE": reshape,
    "STRIDED_SLICE": strided_slice,
    "TILE": tile,
    "TRANSPOSE": transpose,
    "UNPACK": unpack,
}
