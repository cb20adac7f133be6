"""What a student is to learn: the teacher's outputs, each compared as what it is.

Source:
    Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, at
    temperature 1 and without labels.
"""

from dataclasses import dataclass
from enum import Enum, auto

import jax
import jax.numpy as jnp

from secateur_server.pruning.distillation.operators import KERNELS
from secateur_server.pruning.graph import Array, Graph, Operator

SMALLEST_SPREAD = 1e-12


class HeadKind(Enum):
    """What the numbers of an output are."""

    CLASSES = auto()
    """Logits of which one per row wins, before a softmax."""
    CHANCES = auto()
    """Logits that stand for a chance each, before a sigmoid."""
    NUMBERS = auto()


@dataclass(frozen=True, slots=True)
class Head:
    """Where one output is compared.

    Attributes:
        tensor: The output, or the logits that it is made of.
        scale: What the softmax multiplies them by.
    """

    tensor: int
    kind: HeadKind
    scale: float = 1.0


def find_heads(graph: Graph) -> tuple[Head, ...]:
    """Give the heads of a graph, in the order of its outputs.

    What is not known to distillation and only makes outputs of what the network computed,
    as a detector's post-processing does, is passed by: its inputs are the heads.
    """
    found: list[Head] = []
    waiting, seen = list(graph.outputs), set[int]()
    while waiting:
        tensor = waiting.pop(0)
        if tensor not in seen:
            seen.add(tensor)
            maker = _maker(graph, tensor)
            if maker is not None and maker.kind not in KERNELS:
                waiting[:0] = graph.computed(maker)
            elif maker is not None and graph.tensors[tensor].is_real:
                found.append(_head(maker, tensor))
    return tuple(dict.fromkeys(found))


def _maker(graph: Graph, tensor: int) -> Operator | None:
    """Give what makes a tensor, behind what only lays it out or types it otherwise."""
    maker = graph.maker(tensor)
    while maker is not None and maker.kind in {"QUANTIZE", "DEQUANTIZE", "RESHAPE"}:
        maker = graph.maker(maker.inputs[0])
    return maker


def _head(maker: Operator, tensor: int) -> Head:
    match maker.kind:
        case "SOFTMAX":
            return Head(maker.inputs[0], HeadKind.CLASSES, float(maker.options.beta))
        case "LOG_SOFTMAX":
            return Head(maker.inputs[0], HeadKind.CLASSES)
        case "LOGISTIC":
            return Head(maker.inputs[0], HeadKind.CHANCES)
        case _:
            return Head(tensor, HeadKind.NUMBERS)


def divergence(
    head: Head, teacher: jax.Array | Array, student: jax.Array, spread: float
) -> jax.Array:
    """Say how far a student is from its teacher, sample by sample.

    Args:
        head: What is compared.
        teacher: [n, ...].
        student: The same shape.
        spread: The variance of the teacher's numbers; of no account for logits.

    Returns:
        [n]; the Kullback-Leibler divergence in nats, or the squared error in variances.
    """
    axes = tuple(range(1, teacher.ndim))
    if head.kind is HeadKind.NUMBERS:
        return jnp.mean(jnp.square(teacher - student), axis=axes) / spread
    if head.kind is HeadKind.CHANCES:
        return jnp.mean(_of_chances(teacher, student), axis=axes)
    logs, others = (jax.nn.log_softmax(each * head.scale) for each in (teacher, student))
    return jnp.mean(jnp.exp(logs) * (logs - others), axis=axes) * teacher.shape[-1]


def _of_chances(teacher: jax.Array | Array, student: jax.Array) -> jax.Array:
    total = jnp.zeros_like(student)
    for sign in (1, -1):  # that it is so, and that it is not
        logs, others = (jax.nn.log_sigmoid(sign * each) for each in (teacher, student))
        total += jnp.exp(logs) * (logs - others)
    return total


def agreement(
    head: Head, teacher: jax.Array | Array, student: jax.Array, spread: float
) -> jax.Array:
    """Say how far a student answers as its teacher does, sample by sample, [n]."""
    axes = tuple(range(1, teacher.ndim))
    match head.kind:
        case HeadKind.CLASSES:
            is_same = teacher.argmax(axis=-1) == student.argmax(axis=-1)
            return jnp.mean(is_same.astype(jnp.float32), axis=axes[:-1])
        case HeadKind.CHANCES:
            return jnp.mean(((teacher > 0) == (student > 0)).astype(jnp.float32), axis=axes)
        case HeadKind.NUMBERS:
            return 1 - jnp.mean(jnp.square(teacher - student), axis=axes) / spread
