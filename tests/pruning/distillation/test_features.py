"""Both networks are compared where the same channels stand."""

import numpy as np

from secateur_server.pruning.channels import find_channels
from secateur_server.pruning.distillation.features import Feature, distance, find_features
from secateur_server.pruning.distillation.network import differentiable
from secateur_server.pruning.distillation.options import DistillOptions
from secateur_server.pruning.distillation.training import distill
from secateur_server.pruning.graph import Array, Graph
from secateur_server.pruning.linear import WEIGHTED
from secateur_server.pruning.narrowing import everything, narrow
from secateur_server.pruning.rules import RULES
from secateur_server.pruning.selection import free_groups


def test_every_weighted_operator_is_compared_on_the_channels_that_stay(
    teacher: Graph, samples: Array
) -> None:
    channels = find_channels(teacher, RULES)
    stays = everything(channels)
    group = free_groups(teacher, channels)[-1]
    stays[group.channels[::3]] = False
    student = narrow(teacher, channels, stays)
    features = find_features(teacher, student, channels, stays)
    weighted = [each for each in teacher.operators if each.kind in WEIGHTED]
    assert [each.tensor for each in features] == [each.outputs[0] for each in weighted]
    wanted = [each.tensor for each in features]
    x = samples[:4].reshape(4, *teacher.tensors[teacher.inputs[0]].shape)
    before = differentiable(teacher, wanted)({}, x)
    after = differentiable(student, wanted)({}, x)
    first = True
    for feature, seen, found in zip(features, before, after, strict=True):
        narrowed = feature.narrow(seen)
        assert narrowed.shape == found.shape
        # Up to where the channels left, and there too, nothing is different.
        is_narrower = found.shape != seen.shape
        if first:
            np.testing.assert_allclose(narrowed, found, rtol=1e-4, atol=1e-4)
        first = first and not is_narrower


def test_the_distance_of_equal_features_is_zero_and_of_zeros_one() -> None:
    x = np.ones((3, 1, 4, 4, 2), np.float32)
    assert distance(x, x) == 0  # type: ignore[arg-type]
    assert distance(x, 0 * x) == 1  # type: ignore[arg-type]


def test_features_hold_a_student_to_what_its_teacher_computes_on_the_way(
    teacher: Graph, student: Graph, samples: Array
) -> None:
    channels = find_channels(teacher, RULES)
    stays = everything(channels)
    for group in free_groups(teacher, channels):
        stays[group.channels[max(1, round(0.4 * group.size)) :]] = False
    features = find_features(teacher, student, channels, stays)
    wanted = [each.tensor for each in features]
    options = DistillOptions(steps=60, batch=32)
    x = samples[:64].reshape(64, *teacher.tensors[teacher.inputs[0]].shape)
    seen = differentiable(teacher, wanted)({}, x)

    def apart(given: tuple[Feature, ...]) -> float:
        done = distill(teacher, student, (samples,), options, features=given)
        assert done.after.loss < done.before.loss
        found = differentiable(done.graph, wanted)({}, x)
        narrowed = [each.narrow(values) for each, values in zip(features, seen, strict=True)]
        return sum(float(distance(a, b)) for a, b in zip(narrowed, found, strict=True))

    assert apart(features) < apart(())
