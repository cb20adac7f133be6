"""The hot loop of one model: take a frame, let the serving artifact answer, count.

The artifact that serves is one reference, read once per frame and replaced between two:
no frame waits for a swap and none is answered by half of each.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from secateur_agent.core.telemetry import LaneReport
from secateur_agent.engine import InvokeError, LoadedModel, Tensor
from secateur_agent.inference.commands import Fault, LaneSpec, Load, Reply, Watch, Watched
from secateur_agent.inference.frame import Answered, Frame, Unanswered
from secateur_agent.inference.intake import Intake
from secateur_agent.inference.meter import Meter

TAKE_S = 0.5
"""How long a lane waits for a frame before it looks whether it is to stop, seconds."""


@dataclass(frozen=True, slots=True)
class Serving:
    """An artifact that can answer.

    Attributes:
        warm_s: Median time of one inference while it was warmed up, back to back. It is
            what a simulated slow-down multiplies: the noise of a single inference, and
            its cold caches after a pause, would be multiplied with it.
    """

    load: Load
    model: LoadedModel
    warm_s: float


@dataclass(slots=True)
class _Probation:
    watch: Watch
    ends_s: float
    answered: int = 0
    faults: int = 0
    detail: str = ""


class Lane(threading.Thread):
    """One model, what waits for it, and the artifacts that are loaded for it."""

    def __init__(
        self,
        spec: LaneSpec,
        intake: Intake,
        slowdown: float,
        reply: Callable[[Reply], None],
    ) -> None:
        super().__init__(name=f"lane-{spec.model}", daemon=True)
        self.spec = spec
        self.intake = intake
        self.slowdown = slowdown
        self.meter = Meter(spec.deadline_ms)
        self._reply = reply
        self._stopping = threading.Event()
        self._can_serve = threading.Event()
        self._serving: Serving | None = None
        self._previous: Serving | None = None
        self._probation: _Probation | None = None

    def run(self) -> None:
        """Answer frames until stopped."""
        while not self._stopping.is_set():
            if self._can_serve.wait(TAKE_S) and (frame := self.intake.take(TAKE_S)) is not None:
                self._answer(frame)

    def stop(self) -> None:
        """Finish the frame under way and end the thread."""
        self.intake.close()
        self._stopping.set()
        self.join(timeout=10.0)

    @property
    def serving(self) -> Serving | None:
        """The artifact that answers the next frame; ``None``: none does."""
        return self._serving

    def replace(self, candidate: Serving) -> None:
        """Let another artifact answer from the next frame on; keep the one before."""
        if self._serving is not None:
            self._previous = self._serving
        self._become(candidate)

    def settle(self) -> None:
        """Let go of the artifact before the one that serves."""
        self._previous = None

    def restore(self, digest: str | None) -> None:
        """Let the artifact of this digest answer again if it is loaded."""
        self._probation = None
        previous = self._previous
        if digest is None:
            self._can_serve.clear()
            self._serving = None
        elif self._serving is not None and self._serving.load.digest == digest:
            return
        elif previous is not None and previous.load.digest == digest:
            self._become(previous)
        self._previous = None

    def watch(self, watch: Watch) -> None:
        """Report once on the next answers."""
        self._probation = _Probation(watch, time.monotonic() + watch.limit_s)

    def check_probation(self) -> None:
        """Report on a watch whose time is over, also when no frame comes."""
        probation = self._probation
        if probation is not None and time.monotonic() >= probation.ends_s:
            self._end_probation(probation)

    def report(self) -> LaneReport | None:
        """Give this period and begin another; ``None`` while nothing serves."""
        serving = self._serving
        if serving is None:
            return None
        period = self.meter.collect()
        return LaneReport(
            model=self.spec.model,
            version=serving.load.version,
            level=serving.load.level,
            digest=serving.load.digest,
            precision=serving.load.precision,
            deadline_ms=self.meter.deadline_ms,
            p50_ms=period.p50_ms,
            p95_ms=period.p95_ms,
            p99_ms=period.p99_ms,
            since_switch_s=period.since_switch_s,
            offered=self.intake.offered,
            answered=period.answered,
            dropped=self.intake.dropped,
            lost=period.lost,
            deadline_misses=period.deadline_misses,
            switches=period.switches,
            served=period.served,
        )

    def _become(self, serving: Serving) -> None:
        self._serving = serving
        self.meter.switched()
        self._can_serve.set()
        # Not earlier: without an artifact nothing is offered, so nothing is lost.
        self.intake.open()

    def _answer(self, frame: Frame) -> None:
        serving = self._serving
        if serving is None:
            self._lose(frame, "nothing serves")
            return
        try:
            outputs = self._infer(serving, frame)
        except (InvokeError, ValueError) as error:
            answered = self._fall_back(frame, str(error))
            if answered is None:
                return
            serving, outputs = answered
        latency_ms = (time.monotonic() - frame.arrived_s) * 1e3
        if frame.settle is not None:
            frame.settle(Answered(serving.load, serving.model, outputs, latency_ms))
        is_correct = None if frame.label is None else int(outputs[0].argmax()) == frame.label
        self.meter.answered(serving.load.level, latency_ms, is_correct=is_correct)
        probation = self._probation
        if probation is not None:
            probation.answered += 1
            if probation.answered >= probation.watch.count:
                self._end_probation(probation)

    def _infer(self, serving: Serving, frame: Frame) -> tuple[Tensor, ...]:
        inputs = [serving.model.inputs[0].encode(frame.sample)]
        outputs = serving.model.infer(inputs)
        if outputs[0].dtype.kind == "f" and not np.isfinite(outputs[0]).all():
            msg = "output is not finite"
            raise InvokeError(msg)
        self._simulate(serving.warm_s)
        return outputs

    def _simulate(self, warm_s: float) -> None:
        """Take as long as the simulated device would."""
        if self.slowdown > 1.0:
            time.sleep((self.slowdown - 1.0) * warm_s)

    def _fall_back(
        self, frame: Frame, problem: str
    ) -> tuple[Serving, tuple[Tensor, ...]] | None:
        """Let the artifact before answer a frame that the candidate could not."""
        probation, previous = self._probation, self._previous
        if probation is not None:
            probation.faults += 1
            probation.detail = problem
            self._end_probation(probation)
        if previous is None:
            self._lose(frame, problem)
            return None
        try:
            return previous, self._infer(previous, frame)
        except (InvokeError, ValueError) as error:
            self._lose(frame, str(error))
            return None

    def _end_probation(self, probation: _Probation) -> None:
        self._probation = None
        self._reply(
            Watched(
                ticket=probation.watch.ticket,
                model=self.spec.model,
                answered=probation.answered,
                faults=probation.faults,
                detail=probation.detail,
            )
        )

    def _lose(self, frame: Frame, problem: str) -> None:
        self.meter.lost()
        if frame.settle is not None:
            frame.settle(Unanswered(problem, is_dropped=False))
        self._reply(Fault(self.spec.model, problem))
