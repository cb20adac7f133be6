"""The hot loop with a real engine: every frame has one end, whatever is swapped meanwhile."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from secateur_agent.engine import find_engine
from secateur_agent.inference.commands import (
    NO_SWAP,
    LaneSpec,
    Load,
    NotServing,
    Overdue,
    Prepare,
    Prepared,
    Release,
    Reply,
    Restore,
    Serving,
    Watch,
    Watched,
)
from secateur_agent.inference.frame import Answered, Frame, Outcome, Unanswered
from secateur_agent.inference.intake import Intake
from secateur_agent.inference.lane import Lane, named_label
from secateur_agent.inference.loader import Loader
from secateur_agent.inference.realtime import Realtime
from secateur_protocols.manifest import Ladder
from support.waiting import wait_until

pytestmark = pytest.mark.engine

SPEC = LaneSpec(model="digits", deadline_ms=60_000.0, source=None, queue=10_000)


class Bench:
    """One lane and its loader, and everything that they said."""

    def __init__(self, ladder_dir: Path, spec: LaneSpec = SPEC) -> None:
        ladder = Ladder.model_validate_json((ladder_dir / "ladder.json").read_bytes())
        self.loads = [
            Load(
                ticket=level + 1,
                model="digits",
                version="1",
                level=level,
                precision="float32",
                digest=manifest.digest,
                path=str(ladder_dir / f"level-{level}.tflite"),
            )
            for level, manifest in enumerate(ladder.levels)
        ]
        self.replies: list[Reply] = []
        self.outcomes: list[Outcome] = []
        intake = Intake(spec.queue, None, print)
        self.lane = Lane(spec, intake, 1.0, self.replies.append, realtime=Realtime())
        self.loader = Loader(find_engine(), 1, {"digits": self.lane}, self.replies.append)
        self.loader.start()
        self.lane.start()

    def serve(self, level: int) -> None:
        self.loader.load(self.loads[level])
        self.wait_for(Serving(level + 1, "digits"))
        self.replies.clear()

    def wait_for(self, reply: Reply) -> None:
        wait_until(lambda: reply in self.replies)

    def offer(self, *, age_s: float = 0.0, value: float = 0.5) -> None:
        sample = np.full((8, 8, 1), value, np.float32)
        arrived_s = time.monotonic() - age_s
        self.lane.intake.offer(Frame(arrived_s, sample, settle=self.outcomes.append))

    def answer(self, count: int, *, age_s: float = 0.0) -> list[Outcome]:
        """Offer frames and wait until each has an end."""
        before = len(self.outcomes)
        for _ in range(count):
            self.offer(age_s=age_s)
        wait_until(lambda: len(self.outcomes) == before + count)
        return self.outcomes[before:]


@pytest.fixture
def bench(digits_ladder: Path) -> Iterator[Bench]:
    made = Bench(digits_ladder)
    yield made
    made.lane.stop()


def levels_of(outcomes: list[Outcome]) -> list[int]:
    assert all(isinstance(each, Answered) for each in outcomes)
    return [each.load.level for each in outcomes if isinstance(each, Answered)]


def test_every_frame_of_a_stream_is_answered_once_while_levels_are_swapped(
    bench: Bench,
) -> None:
    bench.serve(0)
    stopping = threading.Event()
    offered = 0

    def stream() -> None:
        nonlocal offered
        while not stopping.wait(0.002):
            bench.offer()
            offered += 1

    streaming = threading.Thread(target=stream)
    streaming.start()
    for number in range(12):
        bench.serve((number + 1) % 3)
        bench.lane.settle()
    stopping.set()
    streaming.join()
    wait_until(lambda: len(bench.outcomes) == offered)
    assert set(levels_of(bench.outcomes)) == {0, 1, 2}
    report = bench.lane.report()
    assert report is not None
    assert (report.answered, report.lost, report.dropped) == (offered, 0, 0)


def test_what_stands_by_answers_without_being_loaded_again(
    bench: Bench, tmp_path: Path
) -> None:
    bench.serve(0)
    bench.loader.prepare(Prepare(replace(bench.loads[1], ticket=9)))
    bench.wait_for(Prepared(9, "digits"))
    gone = replace(bench.loads[1], path=str(tmp_path / "not-there"))
    bench.loader.load(gone)
    bench.wait_for(Serving(2, "digits"))
    assert levels_of(bench.answer(3)) == [1, 1, 1]


def test_what_was_released_does_not_stand_by(bench: Bench, tmp_path: Path) -> None:
    bench.serve(0)
    bench.loader.prepare(Prepare(replace(bench.loads[1], ticket=9)))
    bench.wait_for(Prepared(9, "digits"))
    bench.loader.release(Release("digits"))
    bench.loader.load(replace(bench.loads[1], path=str(tmp_path / "not-there")))
    wait_until(lambda: any(isinstance(each, NotServing) for each in bench.replies))
    assert levels_of(bench.answer(2)) == [0, 0]


def test_a_restore_brings_back_the_artifact_before_and_says_when_it_is_gone(
    bench: Bench,
) -> None:
    bench.serve(0)
    bench.serve(1)
    bench.loader.restore(Restore("digits", bench.loads[0].digest))
    assert levels_of(bench.answer(1)) == [0]
    bench.loader.restore(Restore("digits", bench.loads[2].digest))
    (said,) = (each for each in bench.replies if isinstance(each, NotServing))
    assert said.ticket == NO_SWAP


def test_a_watch_reports_what_both_artifacts_took_on_this_device(bench: Bench) -> None:
    bench.serve(0)
    bench.answer(30)
    bench.serve(1)
    bench.lane.watch(Watch(7, "digits", 20, 60.0))
    bench.answer(20)
    wait_until(lambda: any(isinstance(each, Watched) for each in bench.replies))
    (seen,) = (each for each in bench.replies if isinstance(each, Watched))
    assert (seen.ticket, seen.answered, seen.faults) == (7, 20, 0)
    assert seen.p95_ms is not None
    assert seen.incumbent_p95_ms is not None


def test_a_watch_without_a_frame_ends_with_its_time_and_says_that_there_was_none(
    bench: Bench,
) -> None:
    bench.serve(1)
    bench.lane.watch(Watch(7, "digits", 20, 0.0))
    bench.lane.check_trial()
    (seen,) = (each for each in bench.replies if isinstance(each, Watched))
    assert (seen.ticket, seen.answered, seen.faults, seen.p95_ms) == (7, 0, 0, None)


@pytest.mark.parametrize("drops_late", [True, False])
def test_late_frames_are_dropped_or_answered_and_counted_as_misses(
    digits_ladder: Path, *, drops_late: bool
) -> None:
    bench = Bench(digits_ladder, replace(SPEC, drops_late=drops_late))
    bench.serve(0)
    in_time, late = bench.answer(5), bench.answer(7, age_s=100.0)
    assert len(levels_of(in_time)) == 5
    assert [isinstance(each, Unanswered) for each in late] == [drops_late] * 7
    assert all(each.is_dropped for each in late if isinstance(each, Unanswered))
    report = bench.lane.report()
    assert report is not None
    assert report.deadline_misses == 7
    assert report.dropped == (7 if drops_late else 0)
    assert report.lost == 0
    bench.lane.stop()


def test_too_many_late_answers_are_said_at_once_and_a_few_are_not(digits_ladder: Path) -> None:
    bench = Bench(digits_ladder, replace(SPEC, miss_ratio=0.5))
    bench.serve(0)
    bench.answer(8, age_s=100.0)
    bench.answer(20)
    assert not any(isinstance(each, Overdue) for each in bench.replies)
    bench.answer(9, age_s=100.0)
    wait_until(lambda: any(isinstance(each, Overdue) for each in bench.replies))
    bench.lane.stop()


def test_an_output_that_is_not_finite_is_a_fault_and_never_an_answer(bench: Bench) -> None:
    """A frame that overflows both is lost, and said so: there is nobody left to ask."""
    bench.serve(0)
    bench.serve(1)
    bench.lane.watch(Watch(7, "digits", 20, 60.0))
    bench.offer(value=float("nan"))
    wait_until(lambda: len(bench.outcomes) == 1)
    (seen,) = (each for each in bench.replies if isinstance(each, Watched))
    assert seen.faults == 1
    assert isinstance(bench.outcomes[0], Unanswered)
    assert not bench.outcomes[0].is_dropped


@pytest.mark.parametrize(
    ("output", "label"),
    [
        (np.array([[0.1, 0.7, 0.2]], np.float32), 1),
        (np.array([[-3, -90, 11]], np.int8), 2),
        (np.array([[4]], np.int64), 4),
        (np.array(4, np.int32), 4),
        (np.array([[9, 3]], np.int32), 0),
        (np.array([[-5]], np.int8), 0),  # the code of the only number, no label
    ],
)
def test_the_label_that_an_output_names(output: npt.NDArray[Any], label: int) -> None:
    assert named_label(output) == label
