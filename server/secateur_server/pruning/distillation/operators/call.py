"""What an operator's kernel is given: its inputs, and what the file says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from secateur_server.pruning.graph import Graph, Operator


class NotDifferentiableError(Exception):
    """An operator, or what stands at one of its inputs, cannot be run in JAX."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operator on one sample, every tensor in its stored shape.

    Attributes:
        inputs: By slot; ``None``: left out.
    """

    graph: Graph
    operator: Operator
    inputs: tuple[jax.Array | None, ...]

    @property
    def options(self) -> Any:  # noqa: ANN401 - a generated object
        """The operator's options."""
        return self.operator.options

    @property
    def shape(self) -> tuple[int, ...]:
        """The first output's."""
        return self.graph.tensors[self.operator.outputs[0]].shape

    def array(self, slot: int) -> jax.Array:
        """Give an input that must be there."""
        found = self.optional(slot)
        if found is None:
            raise NotDifferentiableError(f"its input {slot} is left out")
        return found

    def optional(self, slot: int) -> jax.Array | None:
        """Give an input, or ``None`` where it is left out."""
        return self.inputs[slot] if slot < len(self.inputs) else None

    def constant(self, slot: int) -> npt.NDArray[Any]:
        """Give axes, sizes and the like, which must be written down in the file."""
        values = self.graph.values(self.operator.inputs[slot])
        if values is None:
            raise NotDifferentiableError(f"its input {slot} is computed")
        return np.asarray(values)


Kernel = Callable[[Call], jax.Array | tuple[jax.Array, ...]]
"""Computes an operator's only output, or all of them, before its fused activation."""
