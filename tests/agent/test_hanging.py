"""What hangs in the engine after it was committed: found, ended, counted, and left alone."""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.adapters.store import Store
from secateur_agent.core import progress, swap
from secateur_agent.engine import Tensor, find_engine
from secateur_agent.inference.commands import LaneSpec, Load
from secateur_agent.inference.frame import Frame
from secateur_agent.inference.intake import Intake
from secateur_agent.inference.lane import Lane, Serving
from secateur_agent.inference.realtime import Realtime
from secateur_protocols.event import DeviceEvent, EventKind
from secateur_protocols.ota import Ota, UpdateState
from secateur_protocols.telemetry import Telemetry
from support import ladders
from support.agent_process import AgentProcess, begin_at
from support.inference import DIGITS
from support.listener import Listener
from support.published import PublishedLadder
from support.waiting import wait_until

IMPATIENT = """
import sys
from secateur_agent import supervision
from secateur_agent.core import progress
progress.SILENT_S, progress.BUSY_S, progress.BUSY_DEADLINES = 3.0, 1.0, 0.0
supervision.WATCH_S = 0.2
from secateur_agent.cli import main
sys.exit(main(sys.argv[1:]))
"""

HANGING = """
import os, pathlib, time
from secateur_agent import engine
load = engine.Engine.load
def load_or_hang(self, artifact, threads=1):
    model = load(self, artifact, threads)
    infer, trap = model.infer, pathlib.Path(os.environ["TRAP"])
    def infer_or_hang(inputs):
        while trap.exists() and int(trap.read_text() or 0) == len(artifact):
            time.sleep(0.05)
        return infer(inputs)
    model.infer = infer_or_hang
    return model
engine.Engine.load = load_or_hang
"""
"""Put into every process of an agent: artifacts of the size that the trap names hang."""


@given(count=st.integers(0, swap.MAX_REFUSALS), served_s=st.floats(0, 10_000))
def test_rule_8_what_hangs_too_often_gives_way_to_the_one_before(
    count: int, served_s: float
) -> None:
    serving, before = ladders.artifact(1), ladders.artifact(2)
    state = swap.SwapState(incumbent=serving, refusals={serving.digest: count})
    after = swap.step(state, swap.Hung(served_s, before))
    counted = after.state.refusals[serving.digest]
    assert counted == (1 if served_s >= swap.STEADY_S else count + 1)
    assert swap.Refuse(serving.digest, counted) in after.effects
    is_left = counted >= swap.MAX_REFUSALS
    assert after.state.incumbent == (before if is_left else serving)


@given(times=st.integers(1, 10))
def test_what_hangs_and_has_nothing_before_it_serves_again(times: int) -> None:
    state = swap.SwapState(incumbent=ladders.artifact(1))
    for _ in range(times):
        state = swap.step(state, swap.Hung(0.0)).state
    assert state.incumbent == ladders.artifact(1)


@given(deadline_ms=st.floats(0.1, 86_400_000))
def test_nothing_is_stuck_before_its_deadline(deadline_ms: float) -> None:
    assert not progress.is_stuck(deadline_ms / 1e3, deadline_ms)
    assert progress.is_stuck(progress.BUSY_DEADLINES * deadline_ms / 1e3 + 61.0, deadline_ms)


class Stuck:
    """A real model whose inferences wait until they may go on."""

    def __init__(self) -> None:
        self._model = find_engine().load(DIGITS.read_bytes())
        self.inputs, self.outputs = self._model.inputs, self._model.outputs
        self.may_go_on = threading.Event()

    def infer(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        self.may_go_on.wait()
        return self._model.infer(inputs)


@pytest.mark.engine
def test_a_lane_says_how_long_its_inference_takes_and_nothing_between_two() -> None:
    model = Stuck()
    spec = LaneSpec(model="digits", deadline_ms=1000.0, source=None, queue=8)
    lane = Lane(spec, Intake(8, None, print), 1.0, print, realtime=Realtime())
    load = Load(
        ticket=0, model="digits", version="1", level=0, precision="", digest="a" * 64, path=""
    )
    lane.replace(Serving(load, model, 0.0))
    lane.start()
    try:
        assert lane.busy() is None
        sample = model.inputs[0].shape
        lane.intake.offer(Frame(time.monotonic(), np.zeros(sample, np.float32)))
        wait_until(lambda: (busy := lane.busy()) is not None and busy.busy_s > 0.2)
        model.may_go_on.set()
        wait_until(lambda: lane.busy() is None)
    finally:
        model.may_go_on.set()
        lane.stop()


@pytest.fixture
def impatient(agent: AgentProcess, monkeypatch: pytest.MonkeyPatch) -> AgentProcess:
    """An agent that waits seconds where others wait minutes."""
    command = [sys.executable, "-c", IMPATIENT, "run"]
    monkeypatch.setattr("support.agent_process.AGENT", command)
    return agent


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that makes artifacts of the size that it names hang."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HANGING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    monkeypatch.setenv("TRAP", str(tmp_path / "trap"))
    return tmp_path / "trap"


def wait_for_fault(listener: Listener, word: str, *, since: int) -> None:
    listener.wait_for(
        DeviceEvent,
        lambda said: said.kind is EventKind.FAULT and word in said.text,
        since=since,
    )


def wait_for_answers(listener: Listener, level: int) -> None:
    listener.wait_for(
        Telemetry,
        lambda said: any(
            each.level == level and any(served.answered for served in each.served)
            for each in said.models
        ),
        since=len(listener.heard),
    )


@pytest.mark.broker
@pytest.mark.engine
def test_an_inference_process_that_does_not_answer_is_ended_and_started_again(
    impatient: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    begin_at(impatient, listener, published, 1)
    since = len(listener.heard)
    stopped = impatient.inference().pid
    os.kill(stopped, signal.SIGSTOP)
    wait_for_fault(listener, "does not answer", since=since)
    wait_until(lambda: impatient.inference().pid != stopped)
    wait_for_answers(listener, 1)


@pytest.mark.broker
@pytest.mark.engine
@pytest.mark.slow
def test_a_committed_artifact_that_hangs_is_left_for_the_one_before_it(
    trap: Path, impatient: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    impatient.start()
    for revision, level in ((1, 2), (2, 1)):
        listener.desire(published.desired(revision, level))
        listener.wait_for_level(level)
    since = len(listener.heard)
    trap.write_text(str(published.ladder.levels[1].size_bytes))
    wait_for_fault(listener, "has not answered for", since=since)
    listener.wait_for_level(2, since=since)
    wait_for_answers(listener, 2)
    listener.wait_for(
        Ota,
        lambda said: any(each.state is UpdateState.REJECTED for each in said.updates),
        since=since,
    )
    impatient.kill()
    kept = Store(impatient.state_dir).recall("digits")
    assert kept.incumbent is not None
    assert kept.incumbent.target.level == 2
    since = len(listener.heard)
    impatient.start()
    listener.wait_for_level(2, since=since)
    wait_for_answers(listener, 2)
