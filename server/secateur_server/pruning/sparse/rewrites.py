"""Equal graphs that XNNPACK's sparse kernels take: one transform for each obstacle.

Each edits an object tree in place, at one operator. The numbers of tensors stay; those of
operators behind the place move. All but `shift_stem` compute the same numbers.
"""

from collections.abc import Callable
from enum import StrEnum

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from secateur_server.pruning.flatbuffer import Tree
from secateur_server.pruning.graph import Graph, Operator, read_graph
from secateur_server.pruning.linear import weights_of
from secateur_server.pruning.sparse.editing import add_constant, add_tensor, operator
from secateur_server.pruning.sparse.eligibility import assess
from secateur_server.pruning.sparse.roles import (
    FLOATS,
    LARGE,
    SMALL,
    Rewrite,
    pad_before,
    padding,
)

VALID = schema.Padding.VALID


class Rewriting(StrEnum):
    """What may be done to a model before it is pruned."""

    NONE = "none"
    SPARSE = "sparse"
    """Whatever computes the same numbers and lets sparse kernels take the graph."""
    SPARSE_STEM = "sparse-stem"
    """Also `shift_stem`, which does not quite."""


def rewrite_for_sparse(tree: Tree, *, with_stem: bool = False) -> list[str]:
    """Take every obstacle away that can be taken away, in place.

    Args:
        tree: A float model. What is not in the way is not touched.
        with_stem: Also what does not compute quite the same: see `shift_stem`.

    Returns:
        What was done, in words, one for each operator.
    """
    done: list[str] = []
    while True:
        graph = read_graph(tree)
        wanted = {*Rewrite} if with_stem else {*Rewrite} - {Rewrite.SHIFTED_STEM}
        ways = [each for each in assess(graph).obstacles if each.rewrite in wanted]
        for each in ways:
            at = graph.operators[each.operator]
            if each.rewrite is not None and TRANSFORMS[each.rewrite](tree, graph, at):
                done.append(f"{each.rewrite}: {each.kind} #{each.operator}")
                break
        else:
            return done


def pool_to_mean(tree: Tree, _graph: Graph, at: Operator) -> bool:
    """Make a MEAN of an average pool over the whole image."""
    axes = add_constant(tree, f"rows and columns/{at.index}", np.array([1, 2], np.int32))
    options = schema.ReducerOptionsT()
    options.keepDims = True
    mean = operator(tree, "MEAN", [at.inputs[0], axes], [at.outputs[0]], options)
    tree.subgraphs[0].operators[at.index] = mean
    return True


def classifier_to_dense(tree: Tree, graph: Graph, at: Operator) -> bool:
    """Make a FULLY_CONNECTED of a 1x1 convolution on a single pixel.

    Not a matter of speed: with the convolution LiteRT's sparse path gives wrong results.
    """
    weights = weights_of(graph, at)
    tensor = graph.tensors[at.inputs[1]]
    data, output = graph.tensors[at.inputs[0]].shape, graph.tensors[at.outputs[0]].shape
    if weights is None or data[1:3] != (1, 1) or weights.shape[1:3] != (1, 1):
        return False
    inputs, outputs, subgraph = data[-1], output[-1], tree.subgraphs[0]
    matrix = add_constant(tree, f"{tensor.name}/matrix", weights.reshape(outputs, inputs))
    flat = add_tensor(tree, f"flat/{at.index}", (data[0], inputs))
    scores = add_tensor(tree, f"scores/{at.index}", (data[0], outputs))
    dense = schema.FullyConnectedOptionsT()
    dense.fusedActivationFunction = at.options.fusedActivationFunction
    subgraph.operators[at.index : at.index + 1] = [
        _reshape(tree, at.inputs[0], flat, (-1, inputs)),
        operator(tree, "FULLY_CONNECTED", [flat, matrix, *at.inputs[2:]], [scores], dense),
        _reshape(tree, scores, at.outputs[0], (-1, 1, 1, outputs)),
    ]
    return True


def _reshape(tree: Tree, source: int, target: int, shape: tuple[int, ...]) -> Tree:
    options = schema.ReshapeOptionsT()
    options.newShape = np.array(shape, np.int32)
    stated = add_constant(tree, f"shape/{target}", options.newShape)
    return operator(tree, "RESHAPE", [source, stated], [target], options)


def pad_explicitly(tree: Tree, graph: Graph, at: Operator) -> bool:
    """Put a PAD before a convolution in steps of 2 instead of its own padding.

    Where there are fewer zeros before the image than behind it, a 3x3 depthwise kernel
    becomes the lower right corner of a 5x5 one, with 2 zeros on every side: it then sees
    the same pixels.
    """
    weights, pads = weights_of(graph, at), padding(graph, at)
    if weights is None or pads is None or graph.tensors[at.inputs[1]].dtype not in FLOATS:
        return False
    half = weights.shape[1] // 2
    inputs = list(at.inputs)
    if pads != ((half, half), (half, half)):
        if at.kind != "DEPTHWISE_CONV_2D" or weights.shape[1:3] != (SMALL, SMALL):
            return False
        half = LARGE // 2
        top, left = half - pads[0][0], half - pads[1][0]
        wide = np.zeros((1, LARGE, LARGE, weights.shape[-1]), np.float32)
        wide[:, top : top + SMALL, left : left + SMALL] = weights
        inputs[1] = add_constant(tree, f"{graph.tensors[at.inputs[1]].name}/5x5", wide)
    return _replace_padding(tree, graph, at, inputs, half)


def _replace_padding(
    tree: Tree, graph: Graph, at: Operator, inputs: list[int], amount: int
) -> bool:
    """Let a convolution read a PAD of its own and not pad by itself."""
    before, subgraph = pad_before(graph, at), tree.subgraphs[0]
    source = before.inputs[0] if before is not None else inputs[0]
    pad, inputs[0] = _pad(tree, graph, source, graph.tensors[source].shape, amount)
    stored = subgraph.operators[at.index]
    stored.inputs = np.array(inputs, np.int32)
    stored.builtinOptions.padding = VALID
    if before is not None:
        subgraph.operators[before.index] = pad
    else:
        subgraph.operators.insert(at.index, pad)
    return True


def _pad(
    tree: Tree, graph: Graph, source: int, shape: tuple[int, ...], amount: int
) -> tuple[Tree, int]:
    name = graph.tensors[source].name if source < len(graph.tensors) else "shifted"
    amounts = np.array([[0, 0], [amount, amount], [amount, amount], [0, 0]], np.int32)
    batch, height, width, channels = shape
    wide = (batch, height + 2 * amount, width + 2 * amount, channels)
    padded = add_tensor(tree, f"{name}/padded", wide)
    made = operator(
        tree,
        "PAD",
        [source, add_constant(tree, f"{name}/padding", amounts)],
        [padded],
        schema.PadOptionsT(),
    )
    return made, padded


def shift_stem(tree: Tree, graph: Graph, at: Operator) -> bool:
    """Let a stem in steps of 2 see the image from its second row and column on.

    Not the same: the first row and column of the output lose the taps that lie on the first
    row and column of the image. All others are exact. Measure the accuracy.
    """
    pads = padding(graph, at)
    if pads is None or pad_before(graph, at) is not None:
        return False
    shape = graph.tensors[at.inputs[0]].shape
    begin = np.array([0, 1 - pads[0][0], 1 - pads[1][0], 0], np.int32)
    if begin.min() < 0 or begin.max() > 1:
        return False
    batch, height, width, channels = (int(s - b) for s, b in zip(shape, begin, strict=True))
    shifted = add_tensor(tree, f"shifted/{at.index}", (batch, height, width, channels))
    size = np.array([-1, height, width, channels], np.int32)
    cut = operator(
        tree,
        "SLICE",
        [
            at.inputs[0],
            add_constant(tree, f"shifted/{at.index}/begin", begin),
            add_constant(tree, f"shifted/{at.index}/size", size),
        ],
        [shifted],
        schema.SliceOptionsT(),
    )
    pad, padded = _pad(tree, graph, shifted, (batch, height, width, channels), 1)
    subgraph = tree.subgraphs[0]
    stored = subgraph.operators[at.index]
    stored.inputs = np.array([padded, *at.inputs[1:]], np.int32)
    stored.builtinOptions.padding = VALID
    subgraph.operators[at.index : at.index] = [cut, pad]
    return True


TRANSFORMS: dict[Rewrite, Callable[[Tree, Graph, Operator], bool]] = {
    Rewrite.POOL_TO_MEAN: pool_to_mean,
    Rewrite.CLASSIFIER_TO_DENSE: classifier_to_dense,
    Rewrite.EXPLICIT_PADDING: pad_explicitly,
    Rewrite.SHIFTED_STEM: shift_stem,
}
