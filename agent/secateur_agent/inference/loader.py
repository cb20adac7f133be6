"""Loads and warms artifacts off the hot path, and puts them where they answer.

What holds the interpreter's lock is done as urgently as answering is, else a busy machine
would keep the lock from those that answer: an artifact is loaded in a millisecond or a few.
Only the inferences that warm it, which may take seconds and need no lock, give way.
"""

import hashlib
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from secateur_agent.core.window import nearest_rank
from secateur_agent.engine import Engine, InvokeError, LoadedModel, LoadError, Tensor
from secateur_agent.errors import AgentError, PermanentError, TransientError
from secateur_agent.inference.commands import (
    NO_SWAP,
    Busy,
    Load,
    NotPrepared,
    NotServing,
    Prepare,
    Prepared,
    Release,
    Reply,
    Restore,
    Serving,
)
from secateur_agent.inference.lane import Lane
from secateur_agent.inference.lane import Serving as Loaded
from secateur_agent.inference.realtime import collect, run_in_background
from secateur_protocols.plain import ReasonCode

WARM_UPS = 15
"""Inferences before an artifact may answer: the first ones pay for memory and caches."""

WARM_S = 0.1
"""How long it is warmed up at least where a device is simulated, seconds: the median of a
small model's first 15 inferences, a millisecond in all, would tell more of the machine's
mood than of it. A real device has no use for the median."""


class Loader(threading.Thread):
    """One thread that loads, in the order of the commands."""

    def __init__(
        self,
        engine: Engine,
        threads: int,
        lanes: Mapping[str, Lane],
        reply: Callable[[Reply], None],
    ) -> None:
        super().__init__(name="loader", daemon=True)
        self._engine = engine
        self._threads = threads
        self._lanes = lanes
        self._reply = reply
        self._swapping = threading.Lock()
        # What is under way counts only if nothing was restored or released meanwhile.
        self._restores: Counter[str] = Counter()
        self._releases: Counter[str] = Counter()
        self._step: tuple[Load, float] | None = None
        self._waiting: queue.SimpleQueue[tuple[Load | Prepare, int]] = queue.SimpleQueue()

    def busy(self) -> Busy | None:
        """Say how long the engine has been at what it does for us; ``None``: at nothing."""
        step = self._step
        if step is None:
            return None
        load, began_s = step
        return Busy(
            model=load.model,
            digest=load.digest,
            served_s=0.0,
            busy_s=time.monotonic() - began_s,
            deadline_ms=self._lanes[load.model].meter.deadline_ms,
        )

    def load(self, load: Load) -> None:
        """Let an artifact answer: at once if it stands by, else when it is loaded."""
        lane = self._lanes[load.model]
        with self._swapping:
            standby = lane.take_standby(load.digest)
            if standby is not None:
                lane.replace(standby)
        if standby is not None:
            self._reply(Serving(load.ticket, load.model))
        else:
            self._waiting.put((load, self._restores[load.model]))

    def prepare(self, prepare: Prepare) -> None:
        """Load an artifact to stand by."""
        model = prepare.load.model
        self._releases[model] += 1
        self._waiting.put((prepare, self._releases[model]))

    def release(self, release: Release) -> None:
        """Let go of what stands by, or is on its way there."""
        with self._swapping:
            self._releases[release.model] += 1
            self._lanes[release.model].stand_by(None)

    def restore(self, restore: Restore) -> None:
        """Let an artifact answer again, and say so if it is gone."""
        with self._swapping:
            self._restores[restore.model] += 1
            is_restored = self._lanes[restore.model].restore(restore.digest)
        if not is_restored:
            reason, detail = ReasonCode.LOAD_FAILED, "it is not loaded any more"
            self._reply(NotServing(NO_SWAP, restore.model, reason, detail))

    def run(self) -> None:
        """Load what waits, for ever."""
        while True:
            command, number = self._waiting.get()
            if isinstance(command, Prepare):
                self._reply(self._prepare(command.load, number))
            else:
                self._reply(self._load(command, number))
            self._step = None
            collect()

    def _load(self, load: Load, restores: int) -> Reply:
        lane = self._lanes[load.model]
        try:
            loaded = self._warm(load, lane.intake.sample)
        except AgentError as error:
            return NotServing(load.ticket, load.model, error.reason, str(error))
        with self._swapping:
            if restores != self._restores[load.model]:
                reason = ReasonCode.SUPERSEDED
                return NotServing(load.ticket, load.model, reason, "restored meanwhile")
            lane.replace(loaded)
        return Serving(load.ticket, load.model)

    def _prepare(self, load: Load, releases: int) -> Reply:
        lane = self._lanes[load.model]
        try:
            loaded = self._warm(load, lane.intake.sample)
        except AgentError as error:
            return NotPrepared(load.ticket, load.model, error.reason, str(error))
        with self._swapping:
            if releases != self._releases[load.model]:
                reason = ReasonCode.SUPERSEDED
                return NotPrepared(load.ticket, load.model, reason, "released meanwhile")
            lane.stand_by(loaded)
        return Prepared(load.ticket, load.model)

    def _warm(self, load: Load, sample: Tensor | None) -> Loaded:
        """Load an artifact from bytes that hash to its digest, and run it a few times.

        Without a sample it is zeros that it is run on.
        """
        self._step = (load, time.monotonic())
        try:
            artifact = Path(load.path).read_bytes()
            if hashlib.sha256(artifact).hexdigest() != load.digest:
                raise TransientError("damaged on disk", ReasonCode.DIGEST_MISMATCH)
            model = self._engine.load(artifact, self._threads)
            times_s = self._run(load, model, sample)
        except OSError as error:
            raise TransientError(f"{error.strerror}", ReasonCode.LOAD_FAILED) from error
        except LoadError as error:
            raise PermanentError(str(error), ReasonCode.LOAD_FAILED) from error
        except (InvokeError, ValueError) as error:
            raise PermanentError(str(error), ReasonCode.WARMUP_FAILED) from error
        except MemoryError as error:
            raise TransientError("out of memory", ReasonCode.OOM) from error
        return Loaded(load, model, nearest_rank(sorted(times_s), 0.5))

    def _run(self, load: Load, model: LoadedModel, sample: Tensor | None) -> list[float]:
        """Run it without hurry, and say how long each inference took, seconds."""
        first = model.inputs[0]
        sample = np.zeros(first.shape, first.dtype) if sample is None else sample
        inputs = [first.encode(sample)]
        least_s = WARM_S if self._lanes[load.model].slowdown > 1 else 0.0
        times_s: list[float] = []

        def warm() -> None:
            while len(times_s) < WARM_UPS or sum(times_s) < least_s:
                started_s = time.perf_counter()
                self._step = (load, time.monotonic())
                model.infer(inputs)
                times_s.append(time.perf_counter() - started_s)

        run_in_background(warm)
        return times_s
