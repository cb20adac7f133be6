"""The inference process: ``python -m secateur_agent.inference FD``.

One thread reads commands from the control process, one loads and warms artifacts, and
each lane has a hot loop of its own. It ends with its pipe: no orphan infers on.
"""

import gc
import hashlib
import os
import queue
import signal
import statistics
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import assert_never

import numpy as np

from secateur_agent.engine import (
    Engine,
    EngineMissingError,
    InvokeError,
    LoadError,
    Tensor,
    find_engine,
)
from secateur_agent.errors import AgentError, ConfigError, PermanentError, TransientError
from secateur_agent.inference.commands import (
    Collect,
    Collected,
    Command,
    Configure,
    Deliver,
    Fault,
    LaneSpec,
    Load,
    NotServing,
    Ready,
    Reply,
    Restore,
    Serving,
    SetDeadline,
    SetSlowdown,
    Settle,
    Stop,
    Unusable,
    Watch,
)
from secateur_agent.inference.intake import Intake
from secateur_agent.inference.lane import Lane
from secateur_agent.inference.lane import Serving as Loaded
from secateur_agent.inference.sources import open_source
from secateur_agent.inference.sources.topic import TopicSource
from secateur_agent.oip.metrics import render
from secateur_agent.oip.router import Router
from secateur_agent.oip.server import HttpServer
from secateur_agent.source import SourceError
from secateur_protocols.ota import ReasonCode

WARM_UPS = 15
"""Inferences before an artifact may answer: the first ones pay for memory and caches."""

WARM_S = 0.1
"""How long an artifact is warmed up at least, seconds: the median of a small model's first
15 inferences, a millisecond in all, would tell more of the machine's mood than of it."""

POLL_S = 0.5
"""How often a watch without frames is checked for its end, seconds."""


class InferenceProcess:
    """Carries commands to lanes and answers back."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        self._swapping = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._topics: dict[str, TopicSource] = {}
        # Load commands under way count only if nothing was restored meanwhile.
        self._restores: dict[str, int] = {}
        self._http: HttpServer | None = None
        self._collected = Collected(())
        self._loads: queue.SimpleQueue[tuple[Load, int]] = queue.SimpleQueue()

    def run(self) -> int:
        """Serve commands until `Stop` or the end of the pipe."""
        configure = self._pipe.recv()
        try:
            engine = find_engine(configure.engine)
            self._open(configure)
        except (EngineMissingError, ConfigError) as error:
            self._reply(Unusable(str(error)))
            return 2
        threading.Thread(
            target=self._load_all, args=(engine, configure.threads), daemon=True
        ).start()
        # What exists now lives as long as the process: keep it out of every collection.
        gc.collect()
        gc.freeze()
        self._reply(Ready(str(engine.name), engine.version))
        self._serve()
        if self._http is not None:
            self._http.stop()
        for lane in self._lanes.values():
            lane.stop()
        return 0

    def _open(self, configure: Configure) -> None:
        for spec in configure.lanes:
            intake = self._intake(spec)
            self._lanes[spec.model] = Lane(spec, intake, configure.slowdown, self._reply)
            self._restores[spec.model] = 0
        if configure.http is not None:
            router = Router(self._lanes, lambda: render(self._collected.reports))
            self._http = HttpServer(configure.http, router)
        for lane in self._lanes.values():
            lane.start()
        if self._http is not None:
            self._http.start()

    def _intake(self, spec: LaneSpec) -> Intake:
        source = open_source(spec.source) if spec.source is not None else None
        if isinstance(source, TopicSource):
            self._topics[spec.model] = source
        return Intake(spec.queue, source, lambda text: self._reply(Fault(spec.model, text)))

    def _set_slowdown(self, slowdown: float) -> None:
        for lane in self._lanes.values():
            lane.slowdown = slowdown

    def _collect(self) -> None:
        reports = [lane.report() for lane in self._lanes.values()]
        self._collected = Collected(tuple(each for each in reports if each is not None))
        self._reply(self._collected)

    def _deliver(self, delivered: Deliver) -> None:
        source = self._topics.get(delivered.model)
        if source is None:
            return
        try:
            source.arrive(delivered.payload)
        except SourceError as error:
            self._reply(Fault(delivered.model, str(error)))

    def _serve(self) -> None:
        while True:
            while not self._pipe.poll(POLL_S):
                for lane in self._lanes.values():
                    lane.check_probation()
            try:
                command: Command = self._pipe.recv()
            except (EOFError, ConnectionResetError):
                return
            if isinstance(command, Stop):
                return
            self._obey(command)

    def _obey(self, command: Command) -> None:
        match command:
            case Load():
                self._loads.put((command, self._restores[command.model]))
            case Watch():
                self._lanes[command.model].watch(command)
            case Settle():
                self._lanes[command.model].settle()
            case Restore():
                with self._swapping:
                    self._restores[command.model] += 1
                    self._lanes[command.model].restore(command.digest)
            case SetDeadline():
                self._lanes[command.model].meter.deadline_ms = command.deadline_ms
            case SetSlowdown():
                self._set_slowdown(command.slowdown)
            case Deliver():
                self._deliver(command)
            case Collect():
                self._collect()
            case Configure() | Stop():
                pass
            case _:
                assert_never(command)

    def _load_all(self, engine: Engine, threads: int) -> None:
        while True:
            load, restores = self._loads.get()
            self._reply(self._load(engine, threads, load, restores))

    def _load(self, engine: Engine, threads: int, load: Load, restores: int) -> Reply:
        lane = self._lanes[load.model]
        try:
            loaded = _warm(engine, threads, load, lane.intake.sample)
        except AgentError as error:
            return NotServing(load.ticket, load.model, error.reason, str(error))
        with self._swapping:
            if restores != self._restores[load.model]:
                reason = ReasonCode.SUPERSEDED
                return NotServing(load.ticket, load.model, reason, "restored meanwhile")
            lane.replace(loaded)
        return Serving(load.ticket, load.model)

    def _reply(self, reply: Reply) -> None:
        with self._sending:
            try:
                self._pipe.send(reply)
            except OSError:  # the control process is gone; the command thread sees it too
                return


def _warm(engine: Engine, threads: int, load: Load, sample: Tensor | None) -> Loaded:
    """Load an artifact from bytes that hash to its digest, and run it a few times.

    Without a sample it is zeros that it is run on.
    """
    try:
        artifact = Path(load.path).read_bytes()
        if hashlib.sha256(artifact).hexdigest() != load.digest:
            raise TransientError("damaged on disk", ReasonCode.DIGEST_MISMATCH)
        model = engine.load(artifact, threads)
        first = model.inputs[0]
        inputs = [
            first.encode(np.zeros(first.shape, first.dtype) if sample is None else sample)
        ]
        times_s: list[float] = []
        while len(times_s) < WARM_UPS or sum(times_s) < WARM_S:
            started_s = time.perf_counter()
            model.infer(inputs)
            times_s.append(time.perf_counter() - started_s)
    except OSError as error:
        raise TransientError(f"{error.strerror}", ReasonCode.LOAD_FAILED) from error
    except LoadError as error:
        raise PermanentError(str(error), ReasonCode.LOAD_FAILED) from error
    except (InvokeError, ValueError) as error:
        raise PermanentError(str(error), ReasonCode.WARMUP_FAILED) from error
    except MemoryError as error:
        raise TransientError("out of memory", ReasonCode.OOM) from error
    return Loaded(load, model, statistics.median(times_s))


def _die(failure: threading.ExceptHookArgs) -> None:
    """End the process when a thread fails: half a process must not look alive."""
    traceback.print_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
    os._exit(1)


def main() -> int:
    """Run until told to stop, or until the control process is gone."""
    # A terminal's Ctrl-C goes to both; the control process decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.excepthook = _die
    return InferenceProcess(Connection(int(sys.argv[1]))).run()


if __name__ == "__main__":
    sys.exit(main())
