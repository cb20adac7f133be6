"""Label-free Fisher information: how much the network's own answers hang on each channel.

A channel's contribution to all that read it is scaled by a mask of 1. The answer is drawn
from what the network itself believes, and the squared gradient of its log-likelihood with
respect to the mask is averaged over samples: no label is looked at. Needs JAX.

Source:
    Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018,
    arXiv:1801.05787, section 2; drawing the answer from the model, so that it is the Fisher
    information proper: Kunstner et al., NeurIPS 2019, arXiv:1905.12558.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from secateur_server.errors import InputError
from secateur_server.pruning.channels import Channels, Ids
from secateur_server.pruning.distillation.network import differentiable
from secateur_server.pruning.distillation.objective import Head, HeadKind, find_heads
from secateur_server.pruning.distillation.operators.call import NotDifferentiableError
from secateur_server.pruning.graph import Array, Graph, Operator
from secateur_server.pruning.linear import (
    has_movable_features,
    is_linear,
    layout,
    weights_of,
)
from secateur_server.pruning.teacher import Feeds

SAMPLES = 192
"""Samples looked at: of each one gradient with respect to all channels is taken."""

BATCH = 16

Scores = npt.NDArray[np.float64]
"""[units]: by the number of a unit, as in `Channels`."""

Surprise = Callable[..., jax.Array]
"""Takes masks, a key and one sample; gives the log-likelihood of a drawn answer."""


def fisher_scores(graph: Graph, channels: Channels, feeds: Feeds, seed: int) -> Scores:
    """Score every unit of a network.

    Args:
        graph: The network.
        channels: Its channels.
        feeds: The calibration set by input tensor.
        seed: Of the answers that are drawn.

    Raises:
        InputError: An operator is not known to JAX's side; names it.
    """
    try:
        surprise = _surprise(graph, channels)
    except NotDifferentiableError as error:
        raise InputError(f"--saliency fisher cannot be had: {error}") from error
    inputs = [feeds[k][:SAMPLES] for k in graph.inputs]
    count = len(inputs[0])
    keys = jax.random.split(jax.random.key(seed), count)
    each = jax.vmap(jax.grad(surprise), in_axes=(None, 0, *[0] * len(inputs)))
    squares = jax.jit(lambda *given: jnp.square(each(*given)).sum(axis=0))
    masks, total = jnp.ones(channels.units), np.zeros(channels.units)
    for start in range(0, count, BATCH):
        part = slice(start, start + BATCH)
        total += np.asarray(squares(masks, keys[part], *(rows[part] for rows in inputs)))
    return total / count


def _surprise(graph: Graph, channels: Channels) -> Surprise:
    heads = find_heads(graph)
    forward = differentiable(graph, [head.tensor for head in heads])
    read = _read(graph, channels)

    def surprise(masks: jax.Array, key: jax.Array, *sample: jax.Array) -> jax.Array:
        parameters = {
            storage: weights * _along(masks[ids], axis, weights.ndim)
            for storage, (weights, ids, axis) in read.items()
        }
        outputs = forward(parameters, *(each[None] for each in sample))
        keys = jax.random.split(key, len(heads))
        terms = [
            _likelihood(head, output[0], one)
            for head, output, one in zip(heads, outputs, keys, strict=True)
        ]
        return jnp.sum(jnp.stack(terms))

    return surprise


def _read(graph: Graph, channels: Channels) -> dict[int, tuple[Array, Ids, int]]:
    """Give the weights that read channels: their values, and which units on which axis."""
    found = {}
    for operator in graph.operators:
        weights = weights_of(graph, operator)
        if weights is None or not is_linear(graph, operator):
            continue
        if has_movable_features(graph, channels, operator):
            tensor = graph.tensors[operator.inputs[layout(operator).weights]]
            axis = _input_axis(operator)
            ids = channels.ids(graph, tensor.index, axis)
            found[tensor.storage] = (weights.astype(np.float32), ids, axis)
    return found


def _input_axis(operator: Operator) -> int:
    is_plain = operator.kind == "BATCH_MATMUL" and not operator.options.adjY
    return -2 if is_plain else -1


def _along(masks: jax.Array, axis: int, rank: int) -> jax.Array:
    shape = [1] * rank
    shape[axis] = -1
    return masks.reshape(shape)


def _likelihood(head: Head, output: jax.Array, key: jax.Array) -> jax.Array:
    """Give the log-likelihood of an answer drawn from what the network believes."""
    match head.kind:
        case HeadKind.CLASSES:
            logs = jax.nn.log_softmax(output * head.scale)
            drawn = jax.random.categorical(key, jax.lax.stop_gradient(logs))
            return jnp.take_along_axis(logs, drawn[..., None], axis=-1).sum()
        case HeadKind.CHANCES:
            chance = jax.nn.sigmoid(jax.lax.stop_gradient(output))
            drawn = jnp.where(jax.random.uniform(key, output.shape) < chance, 1.0, -1.0)
            return jax.nn.log_sigmoid(drawn * output).sum()
        case HeadKind.NUMBERS:
            # A normal distribution about the output: its score is the noise itself.
            return jnp.vdot(jax.random.normal(key, output.shape), output)
