"""A student comes closer to its teacher, never farther, and can be stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur_server.errors import InputError
from secateur_server.pruning.distillation.options import Augmentation, DistillOptions
from secateur_server.pruning.distillation.parameters import trainable
from secateur_server.pruning.distillation.training import distill
from secateur_server.pruning.graph import Array, Graph
from support.lone_operators import lone_operator

NOTHING = frozenset[Augmentation]()
SHORT = DistillOptions(steps=60, batch=32)


def same(some: Graph, other: Graph) -> bool:
    one, two = trainable(some), trainable(other)
    return all(np.array_equal(one[key], two[key]) for key in one)


def test_a_student_comes_closer_to_its_teacher(
    teacher: Graph, student: Graph, samples: Array
) -> None:
    told: list[tuple[float, str]] = []
    done = distill(
        teacher,
        student,
        (samples,),
        replace(SHORT, steps=200),
        progress=lambda *each: told.append(each),
    )
    assert done.after.loss < 0.7 * done.before.loss
    assert done.after.agreement >= done.before.agreement
    assert done.steps_done == 200
    assert told[-1][0] == 1.0
    assert "step 200 of 200" in told[-1][1]
    shapes = [tensor.shape for tensor in done.graph.tensors]
    assert shapes == [tensor.shape for tensor in student.tensors]


def test_without_augmentation_the_teacher_is_asked_the_same(
    teacher: Graph, student: Graph, samples: Array
) -> None:
    done = distill(teacher, student, (samples,), replace(SHORT, augment=NOTHING))
    assert done.after.loss < done.before.loss


def test_a_step_size_that_destroys_the_student_gives_back_what_was_given(
    teacher: Graph, student: Graph, samples: Array
) -> None:
    done = distill(teacher, student, (samples,), replace(SHORT, step_size=0.99))
    if done.best_step == 0:
        assert same(done.graph, student)
    assert done.after.loss <= done.before.loss
    assert done.after.agreement >= done.before.agreement


def test_the_same_seed_gives_the_same_student_and_another_one_another(
    teacher: Graph, student: Graph, samples: Array
) -> None:
    first, second = (distill(teacher, student, (samples,), SHORT) for _ in range(2))
    assert same(first.graph, second.graph)
    third = distill(teacher, student, (samples,), replace(SHORT, seed=1))
    assert not same(first.graph, third.graph)


def test_a_stopped_distillation_goes_on_as_if_it_had_never_stopped(
    teacher: Graph, student: Graph, samples: Array, tmp_path: Path
) -> None:
    whole = distill(teacher, student, (samples,), SHORT)
    asked = iter(range(1000))
    kept = replace(SHORT, state_path=tmp_path / "state" / "level-1.npz")
    part = distill(teacher, student, (samples,), replace(kept, stop=lambda: next(asked) == 31))
    assert part.steps_done == 31
    rest = distill(teacher, student, (samples,), kept)
    assert rest.steps_done == 60
    assert same(rest.graph, whole.graph)
    assert rest.history == whole.history
    again = distill(teacher, student, (samples,), kept)
    assert same(again.graph, whole.graph)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["level-1.npz"]


def test_a_stopped_distillation_gives_the_best_so_far(
    teacher: Graph, student: Graph, samples: Array
) -> None:
    asked = iter(range(1000))
    stopped = replace(SHORT, steps=500, stop=lambda: next(asked) == 90)
    done = distill(teacher, student, (samples,), stopped)
    assert done.steps_done == 90
    assert done.after.loss < done.before.loss


def test_the_state_of_another_distillation_is_refused(
    teacher: Graph, student: Graph, samples: Array, tmp_path: Path
) -> None:
    options = replace(SHORT, steps=2, state_path=tmp_path / "state.npz")
    distill(teacher, student, (samples,), options)
    before = (tmp_path / "state.npz").read_bytes()
    with pytest.raises(InputError, match="another distillation"):
        distill(teacher, student, (samples[1:],), options)
    with pytest.raises(InputError, match="another distillation"):
        distill(teacher, student, (samples,), replace(options, seed=5))
    assert (tmp_path / "state.npz").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"not a zip at all" * 99])
def test_a_damaged_state_is_refused(
    content: bytes, teacher: Graph, student: Graph, samples: Array, tmp_path: Path
) -> None:
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"state\.npz is not the state of a distillation"):
        distill(teacher, student, (samples,), replace(SHORT, state_path=path))


def test_weights_that_are_zero_stay_zero_if_asked(teacher: Graph, samples: Array) -> None:
    sparse = teacher
    for key, values in trainable(teacher).items():
        if values.ndim > 1:
            cut = np.where(np.abs(values) < np.median(np.abs(values)), 0, values)
            sparse = sparse.with_values(key, cut.astype(np.float32), None)
    done = distill(teacher, sparse, (samples,), replace(SHORT, keep_zeros=True))
    assert done.best_step > 0
    for key, values in trainable(sparse).items():
        if values.ndim > 1:
            assert np.array_equal(trainable(done.graph)[key] == 0, values == 0)


def test_an_operator_that_is_not_known_is_named() -> None:
    graph = lone_operator("TOPK_V2", [(1, 5), np.array(2, np.int32)], [(1, 2), (1, 2)])
    with pytest.raises(InputError, match="nothing to distill"):
        distill(graph, graph, (np.zeros((9, 5)),), SHORT)


def test_one_sample_is_too_few(teacher: Graph, student: Graph, samples: Array) -> None:
    with pytest.raises(InputError, match="at least 2 samples"):
        distill(teacher, student, (samples[:1],), SHORT)


def test_two_samples_are_enough(teacher: Graph, student: Graph, samples: Array) -> None:
    done = distill(teacher, student, (samples[:2],), replace(SHORT, steps=3))
    assert done.steps_done == 3


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch": 0}, {"step_size": 0.0}, {"step_size": 2.0}]
)
def test_options_that_cannot_be_are_refused(
    wrong: dict[str, int], teacher: Graph, student: Graph, samples: Array
) -> None:
    with pytest.raises(InputError):
        distill(teacher, student, (samples,), replace(SHORT, **wrong))  # type: ignore[arg-type]
