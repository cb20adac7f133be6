"""A graph as a function that JAX can differentiate."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from secateur_server.pruning.distillation.operators import KERNELS
from secateur_server.pruning.distillation.operators.call import Call, NotDifferentiableError
from secateur_server.pruning.distillation.operators.elementwise import ACTIVATIONS
from secateur_server.pruning.graph import Graph, Operator, Tensor

Parameters = dict[int, jax.Array]
"""What may change of the constants, by storage."""

Rows = npt.NDArray[Any]
"""Samples of one tensor, [n, *shape]; real numbers, or integers where it holds such."""

Inputs = tuple[Rows, ...]
"""Samples for each input of a network, in order."""

Forward = Callable[..., tuple[jax.Array, ...]]
"""Takes parameters and, one by one, `Inputs`; gives tensors [n, *shape]."""


def differentiable(graph: Graph, wanted: Sequence[int]) -> Forward:
    """Make a function of a graph.

    It is written for one sample with every tensor in its stored shape, as the engine runs
    it; JAX adds the axis of the samples in front. What the codes of a quantized tensor
    cannot hold is clipped; that they are steps is not seen.

    Args:
        graph: The network.
        wanted: The tensors to give, in this order.

    Raises:
        NotDifferentiableError: An operator is not known, or a constant cannot be read; names
            it. Raised here and not when the function is called.
    """
    needed = _needed(graph, wanted)

    def of_one(parameters: Parameters, *sample: jax.Array) -> tuple[jax.Array, ...]:
        values = dict(zip(graph.inputs, sample, strict=True))
        for operator in needed:
            values.update(_outputs(graph, operator, parameters, values))
        return tuple(values[tensor] for tensor in wanted)

    forward = jax.vmap(of_one, in_axes=(None, *[0] * len(graph.inputs)))
    nothing = [
        np.zeros((1, *tensor.shape), np.float32 if tensor.is_real else np.int32)
        for tensor in (graph.tensors[k] for k in graph.inputs)
    ]
    jax.eval_shape(forward, {}, *nothing)
    return forward


def _needed(graph: Graph, wanted: Sequence[int]) -> list[Operator]:
    """List the operators that some tensors depend on, in order."""
    tensors, found = set(wanted), list[Operator]()
    for operator in reversed(graph.operators):
        made = [k for k in operator.outputs if not graph.tensors[k].is_constant]
        if tensors.intersection(made):
            tensors.update(operator.inputs)
            found.append(operator)
    return found[::-1]


def _outputs(
    graph: Graph, operator: Operator, parameters: Parameters, values: Mapping[int, jax.Array]
) -> dict[int, jax.Array]:
    kernel = KERNELS.get(operator.kind)
    where = f"{operator.kind} #{operator.index}"
    if kernel is None:
        raise NotDifferentiableError(f"{where} is not known to distillation")
    inputs = tuple(
        None if k < 0 else _input(graph.tensors[k], parameters, values, where)
        for k in operator.inputs
    )
    try:
        found = kernel(Call(graph, operator, inputs))
    except NotDifferentiableError as error:
        raise NotDifferentiableError(f"{where}: {error}") from error
    except (TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        raise NotDifferentiableError(f"{where} is malformed") from error
    arrays = found if isinstance(found, tuple) else (found,)
    activation = ACTIVATIONS[getattr(operator.options, "fusedActivationFunction", 0)]
    return {
        k: _clip(graph.tensors[k], activation(array))
        for k, array in zip(operator.outputs, arrays, strict=True)
    }


def _input(
    tensor: Tensor, parameters: Parameters, values: Mapping[int, jax.Array], where: str
) -> jax.Array:
    if tensor.storage in parameters:
        return parameters[tensor.storage]
    if tensor.values is not None:
        kind = tensor.values.dtype.kind
        return jnp.asarray(
            tensor.values.astype(np.int32 if kind in "iu" else tensor.values.dtype)
        )
    if tensor.index in values:
        return values[tensor.index]
    what = "cannot be read" if tensor.is_opaque else "is not computed by the main subgraph"
    raise NotDifferentiableError(f"{where}: its input {tensor.name} {what}")


def _clip(tensor: Tensor, values: jax.Array) -> jax.Array:
    """Saturate as the codes of a quantized tensor would: often that is the activation."""
    if tensor.quantization is None or tensor.dtype is None or tensor.dtype.kind not in "iu":
        return values
    low, high = tensor.quantization.bounds(tensor.dtype)
    return jnp.clip(values, low, high)
