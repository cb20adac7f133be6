"""What an accuracy counts: labels where there are some, else all that a network answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from secateur_protocols.manifest import Metric
from secateur_server.pruning.divergence import Answer, agreement, answers, compared
from secateur_server.pruning.flatbuffer import read_model
from secateur_server.pruning.graph import read_graph
from secateur_server.pruning.measurement import accuracy
from secateur_server.pruning.pruner import PruneRequest, prune
from secateur_server.pruning.samples import Samples
from secateur_server.pruning.task import Options
from support.architectures import Sketch
from support.tiny_models import run

SHARES = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]], np.float32)
OTHER = np.concatenate([SHARES[:1], SHARES[1:, ::-1]])
"""The first of four named as before."""


def unlabelled(count: int) -> Samples:
    return Samples((np.zeros((count, 1), np.float32),), None)


def labelled(labels: Sequence[int]) -> Samples:
    return Samples((np.zeros((len(labels), 1), np.float32),), np.array(labels))


def test_classes_agree_or_not_and_of_numbers_the_variance_is_met() -> None:
    assert agreement([Answer.CLASS], [SHARES], [OTHER]) == pytest.approx(0.25)
    assert 0 <= agreement([Answer.NUMBERS], [SHARES], [OTHER]) < 1
    assert agreement([Answer.NUMBERS], [SHARES], [SHARES]) == 1.0


def test_all_outputs_count_where_there_are_no_labels() -> None:
    """A detector's boxes may be as good as ever while its scores are not."""
    boxes = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    kinds = [Answer.NUMBERS, Answer.NUMBERS]
    found = accuracy((boxes, OTHER), (boxes, SHARES), unlabelled(4), kinds)
    alone = accuracy((OTHER,), (SHARES,), unlabelled(4), kinds[:1])
    assert found.metric == Metric.FIDELITY
    assert found.value == pytest.approx((1 + alone.value) / 2)
    named = accuracy((boxes, OTHER), (boxes, SHARES), unlabelled(4), [kinds[0], Answer.CLASS])
    assert named.value == pytest.approx((1 + 0.25) / 2)


def test_outputs_that_all_name_something_agree_answer_by_answer() -> None:
    labels = np.array([[1], [5], [5], [2]], np.float32)
    kinds = [Answer.CLASS, Answer.LABEL]
    found = accuracy((OTHER, labels), (SHARES, labels), unlabelled(4), kinds)
    assert (found.metric, found.value, found.samples) == (Metric.AGREEMENT, 5 / 8, 8)


@pytest.mark.parametrize(
    ("outputs", "kinds"),
    [
        ([SHARES], [Answer.NUMBERS]),
        ([SHARES], [Answer.CLASS]),
        ([SHARES, np.ones((4, 7))], [Answer.CLASS, Answer.NUMBERS]),
        ([SHARES.argmax(axis=1)[:, None]], [Answer.LABEL]),
        ([SHARES.argmax(axis=1)], [Answer.LABEL]),
    ],
)
def test_labels_are_those_of_the_first_output(
    outputs: list[npt.NDArray[np.float32]], kinds: list[Answer]
) -> None:
    found = accuracy(tuple(outputs), tuple(outputs), labelled([0, 1, 1, 1]), kinds)
    assert (found.metric, found.value) == (Metric.TOP1, 0.75)


def test_an_output_that_hardly_varies_is_met_within_a_hundredth_of_its_size() -> None:
    almost = 1 + 1e-6 * np.random.default_rng(0).normal(size=(50, 1))
    kind = [Answer.NUMBERS]
    assert agreement(kind, [almost], [almost + 1e-4]) > 0.99
    assert agreement(kind, [almost], [almost + 0.1]) == 0.0


def three_headed() -> bytes:
    """Make a network that names a class and a label, and gives numbers."""
    net = Sketch(11)
    x = net.layer(net.input(1, 16, 16, 3), 12, stride=2)
    x = net.mean(net.layer(net.layer(x, 16), 16))
    logits = net.dense(x, net.normal(5, 16))
    label = net.op("ARG_MAX", logits, net.constant(np.int32(-1)), outputType=2)
    return net.finish(net.dense(x, net.normal(3, 16)), net.softmax(logits), label)


def test_what_an_output_says_is_told_by_what_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "heads.tflite"
    path.write_bytes(three_headed())
    graph = read_graph(read_model(path).tree())
    assert answers(graph) == (Answer.NUMBERS, Answer.CLASS, Answer.LABEL)
    numbers, shares, label = graph.outputs
    maker = graph.maker(label)
    assert maker is not None
    assert compared(graph) == {numbers, shares, maker.inputs[0]}


def test_levels_of_a_network_with_several_outputs_are_measured_by_all(tmp_path: Path) -> None:
    content = three_headed()
    path, samples = tmp_path / "heads.tflite", tmp_path / "x.npz"
    path.write_bytes(content)
    x = np.random.default_rng(1).normal(size=(64, 16, 16, 3)).astype(np.float32)
    np.savez(samples, x=x)
    ladder = prune(
        PruneRequest(
            model_path=path,
            calibration_path=samples,
            evaluation_path=samples,
            out_dir=tmp_path / "ladder",
            method="channel",
            options=Options(levels=2),
            allow_overlap=True,
        )
    )
    measured = ladder.levels[1].accuracy
    artifact = (tmp_path / "ladder" / "level-1.tflite").read_bytes()
    dense, found = (
        [np.array(each) for each in zip(*(run(one, row[None]) for row in x), strict=True)]
        for one in (content, artifact)
    )
    kinds = [Answer.NUMBERS, Answer.CLASS, Answer.LABEL]
    assert measured.metric == Metric.FIDELITY
    assert measured.value == pytest.approx(agreement(kinds, dense, found), abs=1e-4)
    assert measured.value != pytest.approx(agreement(kinds[:1], dense[:1], found[:1]))
