"""The hot loop of one model: take a frame, let the serving artifact answer, count.

The artifact that serves is one reference, read once per frame and replaced between two:
no frame waits for a swap and none is answered by half of each.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from secateur_agent.core import guard
from secateur_agent.core.report import LaneReport
from secateur_agent.engine import InvokeError, LoadedModel, Tensor
from secateur_agent.inference.commands import Busy, Fault, LaneSpec, Load, Overdue, Reply, Watch
from secateur_agent.inference.frame import Answered, Frame, Unanswered
from secateur_agent.inference.intake import Intake
from secateur_agent.inference.meter import Meter
from secateur_agent.inference.realtime import Realtime, prepare_hot_thread
from secateur_agent.inference.results import open_results
from secateur_agent.inference.trial import Trial
from secateur_agent.inference.turnstile import Turnstile
from secateur_protocols.plain import ReasonCode

TAKE_S = 0.5
"""How long a lane waits for a frame before it looks whether it is to stop, seconds."""

RECENT = 64
"""Inferences of an artifact whose times are kept, to judge the next artifact by."""

FEW = 64
"""Elements up to which Python sums faster than numpy."""

OVERDUE_S = 0.2
"""Between two reports of too many late answers, seconds."""

LABELS = frozenset({np.dtype(np.int32), np.dtype(np.int64)})
"""Types in which an ARG_MAX says a label; codes of quantized numbers are shorter."""


def named_label(output: Tensor) -> int:
    """Give the label that an output names: itself where it is one, or its largest's place."""
    is_label = output.size == 1 and output.dtype in LABELS
    return int(output.item() if is_label else output.argmax())


@dataclass(frozen=True, slots=True)
class Serving:
    """An artifact that can answer.

    Attributes:
        warm_s: Median time of one inference while it was warmed up, back to back. It is
            what a simulated slow-down multiplies: the noise of a single inference, and
            its cold caches after a pause, would be multiplied with it.
        recent_ms: How long its last inferences took, without waiting.
        reals: Which of its outputs are real numbers, which may be none.
    """

    load: Load
    model: LoadedModel
    warm_s: float
    recent_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    reals: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find out once what would cost each frame as much as the rest of its checks."""
        outputs = enumerate(self.model.outputs)
        reals = tuple(number for number, info in outputs if info.dtype.kind == "f")
        object.__setattr__(self, "reals", reals)


class Lane(threading.Thread):
    """One model, what waits for it, and the artifacts that are loaded for it."""

    def __init__(
        self,
        spec: LaneSpec,
        intake: Intake,
        slowdown: float,
        reply: Callable[[Reply], None],
        *,
        turnstile: Turnstile | None = None,
        realtime: Realtime,
    ) -> None:
        """Make it; nothing is answered before `start`.

        Args:
            spec: What was configured.
            intake: What waits to be answered.
            slowdown: Of a simulated device; 1 on a real one.
            reply: Called with what the control process is told.
            turnstile: Shared by all lanes. ``None``: each infers when it likes.
            realtime: What the hot loop's thread is to ask of the system.
        """
        super().__init__(name=f"lane-{spec.model}", daemon=True)
        self.spec = spec
        self.intake = intake
        self.slowdown = slowdown
        self.meter = Meter(spec.deadline_ms)
        self._reply = reply
        self._results = open_results(spec, reply)
        self._turnstile = turnstile
        self._realtime = realtime
        self._is_stopping = False
        self._can_serve = threading.Event()
        self._serving: Serving | None = None
        self._previous: Serving | None = None
        self._standby: Serving | None = None
        self._trial: Trial | None = None
        self._recent_misses = 0
        self._overdue_at_s = 0.0
        self._began_s: float | None = None

    def run(self) -> None:
        """Answer frames until stopped."""
        if self._results is not None:
            self._results.start()
        for problem in prepare_hot_thread(self._realtime):
            self._reply(Fault(self.spec.model, problem))
        waits_its_turn = self._turnstile is not None or self.spec.drops_late
        answer = self._answer_in_turn if waits_its_turn else self._answer
        take = self.intake.take
        while not self._is_stopping:
            if self._serving is None and not self._can_serve.wait(TAKE_S):
                continue
            self._began_s = None
            frame = take(TAKE_S)
            if frame is None:
                continue
            if (serving := self._serving) is not None:
                answer(serving, frame)
            else:
                self._lose(frame, "nothing serves")

    def stop(self) -> None:
        """Finish the frame under way and end the thread."""
        self.intake.close()
        self._is_stopping = True
        self.join(timeout=10.0)
        self.intake.refuse_rest()
        if self._results is not None:
            self._results.stop()

    @property
    def serving(self) -> Serving | None:
        """The artifact that answers the next frame; ``None``: none does."""
        return self._serving

    def replace(self, candidate: Serving) -> None:
        """Let another artifact answer from the next frame on; keep the one before."""
        if self._serving is not None:
            self._previous = self._serving
        self._become(candidate)

    def stand_by(self, prepared: Serving | None) -> None:
        """Keep an artifact loaded and warm; let go of the one that stood by before."""
        self._standby = prepared

    def take_standby(self, digest: str) -> Serving | None:
        """Give what stands by, if it is this artifact; then nothing stands by."""
        standby = self._standby
        if standby is None or standby.load.digest != digest:
            return None
        self._standby = None
        return standby

    def settle(self) -> None:
        """Let go of the artifact before the one that serves."""
        self._previous = None

    def restore(self, digest: str | None) -> bool:
        """Let the artifact of this digest answer again; if it is gone, nothing answers.

        Returns:
            Whether what answers now is what was asked for.
        """
        self._trial = None
        serving, previous = self._serving, self._previous
        self._previous = None
        if digest is not None and serving is not None and serving.load.digest == digest:
            return True
        if digest is not None and previous is not None and previous.load.digest == digest:
            self._become(previous)
            return True
        self._can_serve.clear()
        self._serving = None
        return digest is None

    def watch(self, watch: Watch) -> None:
        """Report once on the next answers."""
        previous = self._previous
        before_ms = list(previous.recent_ms) if previous is not None else []
        self._trial = Trial(watch, incumbent_ms=before_ms)

    def check_trial(self) -> None:
        """Report on a watch whose time is over, also when no frame comes."""
        trial = self._trial
        if trial is not None and trial.is_over():
            self._end_trial(trial)

    def busy(self) -> Busy | None:
        """Say how long the inference under way has taken; ``None``: none is."""
        began_s, serving = self._began_s, self._serving
        if began_s is None or serving is None:
            return None
        return Busy(
            model=self.spec.model,
            digest=serving.load.digest,
            served_s=self.meter.since_switch_s(),
            busy_s=time.monotonic() - began_s,
            deadline_ms=self.meter.deadline_ms,
        )

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
            p999_ms=period.p999_ms,
            since_switch_s=period.since_switch_s,
            offered=self.intake.offered,
            answered=period.answered,
            dropped=self.intake.dropped + period.dropped,
            lost=period.lost,
            deadline_misses=period.deadline_misses,
            switches=period.switches,
            served=period.served,
        )

    def _become(self, serving: Serving) -> None:
        self._serving = serving
        self._recent_misses = 0
        self.meter.switched()
        self._can_serve.set()
        # Not earlier: without an artifact nothing is offered, so nothing is lost.
        self.intake.open()

    def _answer_in_turn(self, serving: Serving, frame: Frame) -> None:
        """Answer when it is this lane's turn, unless it is too late already."""
        due_s = frame.arrived_s + self.meter.deadline_ms / 1e3
        if self._turnstile is not None:
            self._turnstile.enter(due_s)
        try:
            if self.spec.drops_late and time.monotonic() > due_s:
                self._drop_late(frame)
            else:
                self._answer(serving, frame)
        finally:
            if self._turnstile is not None:
                self._turnstile.leave()

    def _drop_late(self, frame: Frame) -> None:
        self.meter.dropped_late()
        if frame.settle is not None:
            frame.settle(Unanswered("its deadline has passed", is_dropped=True))
        self._count_miss(is_late=True)

    def _answer(self, serving: Serving, frame: Frame) -> None:
        self._began_s = started_s = time.monotonic()
        try:
            outputs = self._infer(serving, frame)
        except (InvokeError, ValueError) as error:
            answered = self._fall_back(frame, str(error))
            if answered is None:
                return
            serving, outputs = answered
        now_s = time.monotonic()
        inference_ms = (now_s - started_s) * 1e3
        latency_ms = (now_s - frame.arrived_s) * 1e3
        if frame.settle is not None or self._results is not None:
            self._hand_over(frame, Answered(serving.load, serving.model, outputs, latency_ms))
        serving.recent_ms.append(inference_ms)
        is_correct = None if frame.label is None else named_label(outputs[0]) == frame.label
        self.meter.answered(serving.load.level, latency_ms, is_correct=is_correct)
        trial = self._trial
        if trial is not None and trial.answered(inference_ms):
            self._end_trial(trial)
        is_late = latency_ms > self.meter.deadline_ms
        if is_late or self._recent_misses:
            self._count_miss(is_late=is_late)

    def _count_miss(self, *, is_late: bool) -> None:
        """Say so at once when too many of the last answers were late."""
        self._recent_misses = guard.count_miss(self._recent_misses, is_late=is_late)
        if not is_late or not guard.has_too_many_misses(
            self._recent_misses, self.spec.miss_ratio
        ):
            return
        now_s = time.monotonic()
        if now_s - self._overdue_at_s >= OVERDUE_S:
            self._overdue_at_s = now_s
            late = self._recent_misses.bit_count()
            detail = f"{late} of {guard.MISS_WINDOW} later than {self.meter.deadline_ms:.3g} ms"
            self._reply(
                Overdue(self.spec.model, guard.Crossing(ReasonCode.SLO_LATENCY, detail))
            )

    def _hand_over(self, frame: Frame, answered: Answered) -> None:
        if frame.settle is not None:
            frame.settle(answered)
        if self._results is not None:
            self._results.tell(answered, frame.label)

    def _infer(self, serving: Serving, frame: Frame) -> tuple[Tensor, ...]:
        inputs = [serving.model.inputs[0].encode(frame.sample)]
        outputs = serving.model.infer(inputs)
        for number in serving.reals:
            if not _is_finite(outputs[number]):
                msg = "output is not finite"
                raise InvokeError(msg)
        if self.slowdown > 1.0:  # take as long as the simulated device would
            time.sleep((self.slowdown - 1.0) * serving.warm_s)
        return outputs

    def _fall_back(
        self, frame: Frame, problem: str
    ) -> tuple[Serving, tuple[Tensor, ...]] | None:
        """Let the artifact before answer a frame that the candidate could not."""
        trial, previous = self._trial, self._previous
        if trial is not None:
            trial.failed(problem)
            self._end_trial(trial)
        if previous is None:
            self._lose(frame, problem)
            return None
        try:
            return previous, self._infer(previous, frame)
        except (InvokeError, ValueError) as error:
            self._lose(frame, str(error))
            return None

    def _end_trial(self, trial: Trial) -> None:
        self._trial = None
        self._reply(trial.report(self.meter.deadline_ms))

    def _lose(self, frame: Frame, problem: str) -> None:
        self.meter.lost()
        if frame.settle is not None:
            frame.settle(Unanswered(problem, is_dropped=False))
        self._reply(Fault(self.spec.model, problem))


def _is_finite(output: Tensor) -> bool:
    """Say whether no element is NaN or infinite, faster than by asking each one.

    A sum, or a sum of squares, is finite only if every element is. The other way round it
    may have overflowed: then each element is asked.
    """
    flat = output.ravel()
    total = sum(flat.tolist()) if flat.size <= FEW else np.dot(flat, flat)
    return math.isfinite(total) or bool(np.isfinite(flat).all())
