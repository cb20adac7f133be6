"""Distillation: the student learns from the teacher, is judged, and the best is kept."""

import math
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from secateur_server.errors import InputError
from secateur_server.pruning.distillation import state
from secateur_server.pruning.distillation.augmentation import augment, suitable
from secateur_server.pruning.distillation.coordinates import Coordinates, measure
from secateur_server.pruning.distillation.features import Feature
from secateur_server.pruning.distillation.judging import Judge, Teacher
from secateur_server.pruning.distillation.learning import Learner
from secateur_server.pruning.distillation.network import (
    Forward,
    Inputs,
    Parameters,
    Rows,
    differentiable,
)
from secateur_server.pruning.distillation.objective import find_heads
from secateur_server.pruning.distillation.operators.call import NotDifferentiableError
from secateur_server.pruning.distillation.options import (
    Distilled,
    DistillOptions,
    Judgement,
    Progress,
)
from secateur_server.pruning.distillation.parameters import (
    as_stored,
    sizes,
    trainable,
    with_parameters,
)
from secateur_server.pruning.execution import as_reals
from secateur_server.pruning.graph import Graph

CHECKS = 25
"""How often a student is judged on its way."""

MAX_HELD_BACK = 2048
MEASURED_BATCHES = 4
"""From which the coordinates are measured."""

TELL_S, SAVE_S = 0.5, 20.0
"""Between two words of progress, and between two states on disk, seconds."""


def check(graph: Graph) -> None:
    """Make sure that a network can be distilled.

    Raises:
        InputError: Names the first operator that distillation does not know.
    """
    heads = find_heads(graph)
    if not heads or not trainable(graph):
        raise InputError("there is nothing to distill: no real output, or no weights")
    try:
        differentiable(graph, [head.tensor for head in heads])
    except NotDifferentiableError as error:
        raise InputError(f"this model cannot be distilled: {error}") from error


def distill(
    teacher: Graph,
    student: Graph,
    inputs: Inputs,
    options: DistillOptions,
    *,
    features: tuple[Feature, ...] = (),
    progress: Progress = lambda _share, _words: None,
) -> Distilled:
    """Let a student learn its teacher's outputs.

    Args:
        teacher: The original.
        student: A network of the same inputs and outputs.
        inputs: Unlabelled samples for each input, [n, ...], as they are in the file.
        options: How.
        features: What else it learns, see `find_features`.
        progress: Told now and then.

    Raises:
        InputError: An operator is not known, an option cannot be, or the state on disk
            belongs to something else.
        ServerError: The state could not be written.
    """
    options.check()
    check(teacher)
    if len(inputs[0]) < 2:  # noqa: PLR2004 - one learns, one judges
        raise InputError("distillation takes at least 2 samples")
    return _Distillation(teacher, student, inputs, options, features).run(progress)


class _Distillation:
    def __init__(
        self,
        teacher: Graph,
        student: Graph,
        inputs: Inputs,
        options: DistillOptions,
        features: tuple[Feature, ...],
    ) -> None:
        self._student = student
        self._tensors = [teacher.tensors[k] for k in teacher.inputs]
        self._inputs = inputs
        kinds = suitable(self._tensors) if options.augment is None else options.augment
        self._options = replace(options, augment=kinds)
        self._kinds = kinds
        order = np.random.default_rng(options.seed).permutation(len(inputs[0]))
        held = int(np.clip(round(options.hold_back * len(order)), 1, MAX_HELD_BACK))
        self._learning, judging = order[held:], np.sort(order[:held])
        self._batch = min(options.batch, len(self._learning))
        heads = find_heads(teacher)
        answers = differentiable(teacher, [head.tensor for head in heads])
        self._coordinates = self._measure_coordinates()
        judged = _answering(student, (), self._coordinates)
        self._judge = Judge(Teacher(answers, heads, self._batch), judged, self._reals(judging))
        self._given = self._coordinates.inward(trainable(student))
        outputs = _output_sizes(student, self._reals(order[: self._batch]))
        self._learner = Learner(
            _teaching(teacher, features),
            _answering(student, features, self._coordinates),
            heads,
            self._judge.spreads,
            sizes(student, self._given, outputs, keep_zeros=options.keep_zeros),
            self._options,
        )
        self._name = ""
        if options.state_path is not None:
            self._name = state.digest(teacher, student, inputs, self._options)

    def _reals(self, chosen: npt.NDArray[np.intp]) -> Inputs:
        return tuple(
            as_reals(tensor, rows[chosen])
            for tensor, rows in zip(self._tensors, self._inputs, strict=True)
        )

    def _measure_coordinates(self) -> Coordinates:
        if self._options.keep_zeros:
            return Coordinates(())  # others mix weights: no zero would stay
        count = len(self._learning) // self._batch
        starts = range(0, min(count, MEASURED_BATCHES) * self._batch, self._batch)
        parts = (self._learning[k : k + self._batch] for k in starts)
        return measure(self._student, map(self._reals, parts))

    def run(self, progress: Progress) -> Distilled:
        course = self._begin()
        is_stopped = False
        try:
            is_stopped = self._learn(course, progress)
        except KeyboardInterrupt:
            is_stopped = True
        self._save(course)
        graph = self._student
        if course.best_step:
            learned = self._coordinates.outward(course.best)
            graph = with_parameters(graph, {k: np.asarray(v) for k, v in learned.items()})
        return Distilled(
            graph=graph,
            before=course.before,
            after=course.after,
            best_step=course.best_step,
            steps_done=int(course.point.step),
            is_stopped=is_stopped,
            augment="+".join(sorted(self._kinds)) or "none",
            history=tuple(course.history),
        )

    def _learn(self, course: state.Course, progress: Progress) -> bool:
        """Make the steps that are left, and say whether it was asked to stop before."""
        started_s = told_s = saved_s = time.monotonic()
        first, steps = int(course.point.step), self._options.steps
        every = max(1, steps // CHECKS)
        for step in range(first + 1, steps + 1):
            if self._options.stop():
                return True
            course.point = self._learner.step(course.point, self._batch_of(step - 1))
            course.point.step.block_until_ready()  # else steps would pile up, and the clock lie
            is_checked = step % every == 0 or step == steps
            if is_checked and not math.isfinite(self._look(course).loss):
                return False
            now_s = time.monotonic()
            if step == steps or now_s - told_s >= TELL_S:
                progress(*self._words(step, first, now_s - started_s, course))
                told_s = now_s
            if now_s - saved_s >= SAVE_S:
                self._save(course)
                saved_s = now_s
        return False

    def _begin(self) -> state.Course:
        point = self._learner.start(self._given)
        if self._options.state_path is not None:
            found = state.load(self._options.state_path, point, self._name)
            if found is not None:
                return found
        before = self._judge(point.parameters)
        return state.Course(point, self._given, 0, before, before, [])

    def _batch_of(self, step: int) -> Inputs:
        """Choose and change a batch by the number of its step alone, so that it comes again."""
        lap, place = divmod(step, len(self._learning) // self._batch)
        seed = self._options.seed
        order = np.random.default_rng((seed, lap)).permutation(len(self._learning))
        chosen = self._learning[order[place * self._batch :][: self._batch]]
        return augment(
            self._reals(chosen), self._kinds, np.random.default_rng((seed, lap, place))
        )

    def _look(self, course: state.Course) -> Judgement:
        """Judge where the learning stands, and keep it if it is better than all before."""
        step, average = int(course.point.step), course.point.average
        found = self._judge(average)
        course.history.append((step, found))
        if found.loss < course.after.loss and found.agreement >= course.before.agreement:
            course.best = {key: np.asarray(value) for key, value in average.items()}
            course.best_step, course.after = step, found
        return found

    def _words(
        self, step: int, first: int, taken_s: float, course: state.Course
    ) -> tuple[float, str]:
        steps = self._options.steps
        left_s = taken_s / (step - first) * (steps - step)
        minutes, seconds = divmod(round(left_s), 60)
        words = (
            f"distilling, step {step} of {steps}, {minutes}:{seconds:02d} left, "
            f"agreement {course.before.agreement:.3f} -> {course.after.agreement:.3f}"
        )
        return step / steps, words

    def _save(self, course: state.Course) -> None:
        if self._options.state_path is not None:
            state.save(self._options.state_path, course, self._name)


def _teaching(teacher: Graph, features: tuple[Feature, ...]) -> Forward:
    """Run a teacher: its answers, then what the student has of the features."""
    heads = find_heads(teacher)
    wanted = [head.tensor for head in heads] + [each.tensor for each in features]
    run = differentiable(teacher, wanted)

    def teach(parameters: Parameters, *inputs: Rows) -> tuple[jax.Array, ...]:
        found = run(parameters, *inputs)
        narrowed = [
            feature.narrow(values)
            for feature, values in zip(features, found[len(heads) :], strict=True)
        ]
        return (*found[: len(heads)], *narrowed)

    return teach


def _answering(
    student: Graph, features: tuple[Feature, ...], coordinates: Coordinates
) -> Forward:
    """Run a student with its parameters as they will be stored: answers, then features."""
    heads = find_heads(student)
    wanted = [head.tensor for head in heads] + [each.tensor for each in features]
    run = differentiable(student, wanted)
    return lambda seen, *inputs: run(as_stored(student, coordinates.outward(seen)), *inputs)


def _output_sizes(graph: Graph, inputs: Inputs) -> dict[int, float]:
    """Give the root mean square of each operator's first output."""
    operators = [
        each
        for each in graph.operators
        if each.outputs and not graph.tensors[each.outputs[0]].is_constant
    ]
    run = differentiable(graph, [each.outputs[0] for each in operators])

    @jax.jit
    def measure(*inputs: Rows) -> list[jax.Array]:
        found = run({}, *inputs)
        return [jnp.sqrt(jnp.mean(jnp.square(each.astype(jnp.float32)))) for each in found]

    found = measure(*inputs)
    return {each.index: float(size) for each, size in zip(operators, found, strict=True)}
