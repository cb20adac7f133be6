"""One step of a student.

Source:
    Kingma and Ba, "Adam", arXiv:1412.6980, with the step of each tensor in units of that
    tensor's own size, as in You et al., "LAMB", arXiv:1904.00962; Polyak and Juditsky,
    "Acceleration of Stochastic Approximation by Averaging", 1992, for the running mean.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from secateur_server.pruning.distillation.features import distance
from secateur_server.pruning.distillation.network import Forward, Inputs, Parameters
from secateur_server.pruning.distillation.objective import Head, divergence
from secateur_server.pruning.distillation.options import DistillOptions
from secateur_server.pruning.graph import Array

EARLY = 10.0
"""The running mean forgets faster at first: after k steps it keeps k / (k + this) at most."""


class Point(NamedTuple):
    """Where the learning stands.

    Attributes:
        step: How many steps were made.
        optimizer: Adam's moments.
        average: The running mean of the parameters.
    """

    step: jax.Array
    parameters: Parameters
    optimizer: Any
    average: Parameters


Answers = tuple[jax.Array, ...]
"""At the heads, then at the features."""


class Learner:
    """The student's side: made once, compiled once.

    Args:
        teacher: Gives its heads, then what it has of the features.
        student: The same of the student.
        spreads: Of the teacher's answers, by head.
        sizes: Of the parameters.
    """

    def __init__(
        self,
        teacher: Forward,
        student: Forward,
        heads: tuple[Head, ...],
        spreads: tuple[float, ...],
        sizes: Mapping[int, Array],
        options: DistillOptions,
    ) -> None:
        self._teacher, self._student = teacher, student
        self._heads, self._spreads = heads, spreads
        self._options = options
        schedule = optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=options.step_size,
            warmup_steps=round(options.warm_up * options.steps),
            decay_steps=options.steps,
        )
        self._optimizer = optax.chain(
            optax.scale_by_adam(),
            optax.stateless(
                lambda updates, _: {key: sizes[key] * value for key, value in updates.items()}
            ),
            optax.scale_by_learning_rate(schedule),
        )
        self._compiled = jax.jit(self._step)
        self._start = jax.jit(self._first)

    def start(self, parameters: Mapping[int, Array]) -> Point:
        """Give the point before the first step."""
        first: Point = self._start(dict(parameters))
        return first

    def step(self, point: Point, inputs: Inputs) -> Point:
        """Learn from one batch."""
        following: Point = self._compiled(point, inputs)
        return following

    def _first(self, held: Parameters) -> Point:
        return Point(jnp.zeros((), jnp.int32), held, self._optimizer.init(held), held)

    def _loss(self, parameters: Parameters, inputs: Inputs, wanted: Answers) -> jax.Array:
        found, count = self._student(parameters, *inputs), len(self._heads)
        losses = [
            divergence(head, target, answer, spread).mean()
            for head, target, answer, spread in zip(
                self._heads, wanted[:count], found[:count], self._spreads, strict=True
            )
        ]
        loss = jnp.stack(losses).mean()
        inside = list(map(distance, wanted[count:], found[count:]))
        weight = self._options.features
        return loss + weight * jnp.stack(inside).mean() if inside else loss

    def _step(self, point: Point, inputs: Inputs) -> Point:
        wanted = self._teacher({}, *inputs)
        gradient = jax.grad(self._loss)(point.parameters, inputs, wanted)
        updates, optimizer = self._optimizer.update(gradient, point.optimizer)
        parameters = optax.apply_updates(point.parameters, updates)
        step = point.step + 1
        keep = jnp.minimum(self._options.average, step / (step + EARLY))
        average = {
            key: keep * mean + (1 - keep) * parameters[key]
            for key, mean in point.average.items()
        }
        return Point(step, parameters, optimizer, average)
