"""How close a student is, on samples that it never learns from."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from secateur_server.pruning.distillation.network import Forward, Inputs, Parameters, Rows
from secateur_server.pruning.distillation.objective import (
    SMALLEST_SPREAD,
    Head,
    agreement,
    divergence,
)
from secateur_server.pruning.distillation.options import Judgement
from secateur_server.pruning.graph import Array

Targets = tuple[jax.Array | Array, ...]
"""What the teacher gives at each of its heads, [n, ...]."""


class Teacher:
    """The original network, which only answers.

    Attributes:
        heads: Where its outputs are compared.
        batch: How many samples it is asked for at a time.
    """

    def __init__(self, forward: Forward, heads: Sequence[Head], batch: int) -> None:
        self.heads = tuple(heads)
        self.batch = batch
        self._forward = jax.jit(forward)

    def __call__(self, inputs: Inputs) -> Targets:
        """Answer for one batch."""
        found: Targets = self._forward({}, *inputs)
        return found

    def answer_all(self, inputs: Inputs) -> tuple[Array, ...]:
        """Answer for as many samples as there are."""
        parts = [[np.asarray(each) for each in self(part)] for part in _cut(inputs, self.batch)]
        count = len(inputs[0])
        return tuple(np.concatenate(some)[:count] for some in zip(*parts, strict=True))


class Judge:
    """Compares students with the teacher's answers, which it asked for once.

    Attributes:
        spreads: The variance of the teacher's answers, by head.
    """

    def __init__(self, teacher: Teacher, student: Forward, inputs: Inputs) -> None:
        self._inputs, self._batch = inputs, teacher.batch
        self._student = student
        self._heads = teacher.heads
        self._answers = teacher.answer_all(inputs)
        self.spreads = tuple(
            max(float(each.var(axis=0).mean()), SMALLEST_SPREAD) for each in self._answers
        )
        self._measure = jax.jit(self._measured)

    def __call__(self, parameters: Parameters) -> Judgement:
        """Judge a student; both are means over outputs."""
        both = zip(
            _cut(self._inputs, self._batch), _cut(self._answers, self._batch), strict=True
        )
        measured = [np.asarray(self._measure(parameters, *each)) for each in both]
        held = np.concatenate(measured, axis=1)[:, : len(self._inputs[0])]
        loss, agreed = held.mean(axis=1).tolist()
        return Judgement(loss, agreed)

    def _measured(self, parameters: Parameters, inputs: Inputs, targets: Targets) -> jax.Array:
        """Give loss and agreement of each sample, [2, n]."""
        found = self._student(parameters, *inputs)
        each = list(zip(self._heads, targets, found, self.spreads, strict=True))
        return jnp.stack(
            [
                jnp.stack([compare(*one) for one in each]).mean(axis=0)
                for compare in (divergence, agreement)
            ]
        )


def _cut(arrays: tuple[Rows, ...], batch: int) -> list[tuple[Rows, ...]]:
    """Cut samples into batches, the last filled up, so that one compiled program does."""
    count = len(arrays[0])
    batches = -(-count // batch)
    chosen = np.arange(batches * batch) % count
    return [tuple(each[part] for each in arrays) for part in np.split(chosen, batches)]
