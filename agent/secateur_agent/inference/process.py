"""The inference half of the agent, in a process of its own or in a program's.

One thread reads commands from the control process, one loads and warms artifacts, and
each lane has a hot loop of its own. It ends with its pipe: no orphan infers on.
"""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, assert_never

from secateur_agent.core.report import DeviceReport
from secateur_agent.engine import Engine, find_engine
from secateur_agent.errors import ConfigError
from secateur_agent.inference.commands import (
    Alive,
    Collect,
    Collected,
    Command,
    Configure,
    Deliver,
    Describe,
    Fault,
    HttpSpec,
    LaneSpec,
    Load,
    Ping,
    Prepare,
    Ready,
    Release,
    Reply,
    Restore,
    SetDeadline,
    SetSlowdown,
    Settle,
    Stop,
    Unusable,
    Watch,
)
from secateur_agent.inference.intake import Intake
from secateur_agent.inference.lane import Lane
from secateur_agent.inference.loader import Loader
from secateur_agent.inference.pipe import Pipe
from secateur_agent.inference.realtime import (
    keep_collections_out,
    prepare_process,
)
from secateur_agent.inference.sources import open_source
from secateur_agent.inference.sources.topic import TopicSource
from secateur_agent.inference.turnstile import Turnstile
from secateur_agent.installed import EngineMissingError
from secateur_agent.source import SourceError

if TYPE_CHECKING:
    from secateur_agent.oip.server import HttpServer

POLL_S = 0.5
"""How often a watch without frames is checked for its end, seconds."""


class InferenceProcess:
    """Carries commands to lanes and answers back."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._topics: dict[str, TopicSource] = {}
        self._http: HttpServer | None = None
        self._collected = Collected(())
        self._device = DeviceReport()
        self._loader: Loader | None = None

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """The lanes, by model."""
        return self._lanes

    def run(self) -> int:
        """Serve commands until `Stop` or the end of the pipe, in a process of our own."""
        configure: Configure = self._pipe.recv()
        problems = prepare_process(configure.realtime)
        try:
            engine = self._begin(configure)
        except (EngineMissingError, ConfigError) as error:
            self._reply(Unusable(str(error)))
            return 2
        keep_collections_out()
        self._reply(Ready(engine.name))
        for problem in problems:
            self._reply(Fault(None, problem))
        self._serve()
        self.close()
        return 0

    def begin(self, on_open: Callable[[], None]) -> None:
        """Serve in a program that is not ours: its priorities and its garbage stay its own.

        Args:
            on_open: Called once everything is open, before the first command is obeyed.

        Raises:
            ConfigError: A source or an address cannot be had.
            EngineMissingError: There is no engine.
        """
        engine = self._begin(self._pipe.recv())
        on_open()
        self._reply(Ready(engine.name))
        self._serve()

    def go_on(self, pipe: Pipe) -> None:
        """Serve another control process, with the lanes as they are."""
        self._pipe = pipe
        configure: Configure = pipe.recv()
        engine = find_engine(configure.engine)
        self._reply(Ready(engine.name))
        self._serve()

    def close(self) -> None:
        """Finish the frames under way and end every thread."""
        if self._http is not None:
            self._http.stop()
        for lane in self._lanes.values():
            lane.stop()

    def _begin(self, configure: Configure) -> Engine:
        engine = find_engine(configure.engine)
        self._open(configure)
        self._loader = Loader(engine, configure.threads, self._lanes, self._reply)
        self._loader.start()
        return engine

    def _open(self, configure: Configure) -> None:
        turnstile = Turnstile(configure.places) if configure.places is not None else None
        for spec in configure.lanes:
            self._lanes[spec.model] = Lane(
                spec,
                self._intake(spec),
                configure.slowdown,
                self._reply,
                turnstile=turnstile,
                realtime=configure.realtime,
            )
        if configure.http is not None:
            self._http = self._open_http(configure.http)
        for lane in self._lanes.values():
            lane.start()
        if self._http is not None:
            self._http.start()

    def _open_http(self, spec: HttpSpec) -> "HttpServer":
        # Here alone: not every device has callers, and it brings 20 modules.
        from secateur_agent.oip.metrics import render  # noqa: PLC0415 - see above
        from secateur_agent.oip.router import Router  # noqa: PLC0415 - see above
        from secateur_agent.oip.server import HttpServer  # noqa: PLC0415 - see above

        def metrics() -> str:
            return render(self._collected.reports, self._device)

        return HttpServer(spec, Router(self._lanes, metrics))

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

    def _report(self, command: Collect | Describe | Ping) -> None:
        match command:
            case Collect():
                self._collect()
            case Describe():
                self._device = command.device
            case Ping():
                self._tell_busy()
            case _:
                assert_never(command)

    def _tell_busy(self) -> None:
        busy = [lane.busy() for lane in self._lanes.values()]
        if self._loader is not None:
            busy.append(self._loader.busy())
        self._reply(Alive(tuple(each for each in busy if each is not None)))

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
            has_command = self._pipe.poll(POLL_S)
            for lane in self._lanes.values():
                lane.check_trial()
            if not has_command:
                continue
            try:
                command: Command = self._pipe.recv()
            except (EOFError, ConnectionResetError):
                return
            if isinstance(command, Stop):
                return
            self._obey(command)

    def _obey(self, command: Command) -> None:
        match command:
            case Load() | Prepare() | Release() | Restore():
                self._obey_loading(command)
            case Watch():
                self._lanes[command.model].watch(command)
            case Settle():
                self._lanes[command.model].settle()
            case SetDeadline():
                self._lanes[command.model].meter.deadline_ms = command.deadline_ms
            case SetSlowdown():
                self._set_slowdown(command.slowdown)
            case Deliver():
                self._deliver(command)
            case Collect() | Describe() | Ping():
                self._report(command)
            case Configure() | Stop():
                pass
            case _:
                assert_never(command)

    def _obey_loading(self, command: Load | Prepare | Release | Restore) -> None:
        if self._loader is None:
            return
        match command:
            case Load():
                self._loader.load(command)
            case Prepare():
                self._loader.prepare(command)
            case Release():
                self._loader.release(command)
            case Restore():
                self._loader.restore(command)
            case _:
                assert_never(command)

    def _reply(self, reply: Reply) -> None:
        with self._sending:
            try:
                self._pipe.send(reply)
            except OSError:  # the control process is gone; the command thread sees it too
                return
