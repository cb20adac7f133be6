"""What both networks compute on the way to their outputs, where channels correspond.

Source:
    Romero et al., "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550; a pruned network
    needs no layer in between, as its channels are some of the teacher's.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from secateur_server.pruning.channels import Channels
from secateur_server.pruning.graph import Graph
from secateur_server.pruning.linear import WEIGHTED
from secateur_server.pruning.narrowing import Stays

SMALLEST_POWER = 1e-12


@dataclass(frozen=True, slots=True)
class Feature:
    """One tensor of both networks.

    Attributes:
        tensor: Its number in both.
        kept: By axis, which indices of the teacher's the student has.
    """

    tensor: int
    kept: dict[int, npt.NDArray[np.intp]] = field(default_factory=dict)

    def narrow(self, values: jax.Array) -> jax.Array:
        """Take out of the teacher's tensor [n, *shape] what the student has too."""
        for axis, indices in self.kept.items():
            values = jnp.take(values, indices, axis=axis + 1)
        return values


def find_features(
    teacher: Graph, student: Graph, channels: Channels, stays: Stays
) -> tuple[Feature, ...]:
    """List what weighted operators make in both networks.

    Args:
        teacher: The original.
        student: What is left of it, with the same numbers for the same tensors.
        channels: Of the teacher.
        stays: Which of them the student has.
    """
    made = {operator.outputs for operator in student.operators if operator.kind in WEIGHTED}
    found = []
    for operator in teacher.operators:
        if operator.kind in WEIGHTED and operator.outputs in made:
            tensor = operator.outputs[0]
            axes = channels.axes.get(tensor, {})
            kept = {axis: np.flatnonzero(stays[ids]) for axis, ids in axes.items()}
            shape = list(teacher.tensors[tensor].shape)
            for axis, indices in kept.items():
                shape[axis] = len(indices)
            if tuple(shape) == student.tensors[tensor].shape:
                found.append(Feature(tensor, kept))
    return tuple(found)


def distance(teacher: jax.Array, student: jax.Array) -> jax.Array:
    """Give the mean squared error in units of the teacher's mean square."""
    power = jnp.maximum(jnp.mean(jnp.square(teacher)), SMALLEST_POWER)
    return jnp.mean(jnp.square(teacher - student)) / power
