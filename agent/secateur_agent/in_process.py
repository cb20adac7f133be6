"""The agent inside a Python program: it asks for inferences, the agent chooses the level.

    from secateur_agent import Agent

    with Agent("agent.toml") as agent:
        answer = agent.infer("digits", image)
        print(answer.outputs[0].argmax(), "by level", answer.level)

Engine, lanes and sources run in the program; a control process beside it speaks MQTT, fetches,
probes and decides. It is started again should it die, and inferences go on meanwhile. It ends
with the program, however that ends. Of ``[realtime]`` only ``fifo_priority`` applies:
priorities, processors and memory are the program's own.
"""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Self

from secateur_agent.core.backoff import backoff_s
from secateur_agent.engine import Tensor, TensorInfo
from secateur_agent.errors import ConfigError
from secateur_agent.inference.caller import ask, objection
from secateur_agent.inference.frame import Unanswered
from secateur_agent.inference.lane import Lane
from secateur_agent.inference.pipe import Pipe
from secateur_agent.inference.process import InferenceProcess
from secateur_agent.installed import EngineMissingError
from secateur_agent.settings import read_settings

START_S = 60.0
"""How long the control process may take to say what is to be done, seconds."""

STOP_S = 15.0

POLL_S = 0.01
"""How often a caller looks whether an artifact serves, before the first one does, seconds."""


class NoAnswerError(Exception):
    """An inference has no answer: none serves yet, too many frames wait, or it failed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an artifact made of a sample.

    Attributes:
        outputs: One array per output, in the model's own types; the caller's own.
        infos: What each output is: its name, and how to decode a quantized one.
        level: Of the artifact that answered; likewise ``version`` and ``digest``.
        latency_ms: From the call to the answer.
    """

    outputs: tuple[Tensor, ...]
    infos: tuple[TensorInfo, ...]
    level: int
    version: str
    digest: str
    latency_ms: float


class Agent:
    """One agent. A context manager; `infer` may be called from any thread."""

    def __init__(self, config: Path | str) -> None:
        """Read the configuration.

        Raises:
            ConfigError: It cannot be used.
        """
        self._config = Path(config).resolve()
        self._models = {model.name for model in read_settings(self._config).models}
        self._half: InferenceProcess | None = None
        self._control: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self._begun = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="secateur-agent", daemon=True)

    def __enter__(self) -> Self:
        """Start; see `start`."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; see `close`."""
        self.close()

    def start(self) -> None:
        """Start everything. `infer` waits by itself until an artifact serves.

        Raises:
            ConfigError: A source, an address or the engine cannot be had; nothing runs.
        """
        self._thread.start()
        self._begun.wait(START_S)
        if self._problem is not None or not self._lanes:
            self.close()
            raise ConfigError(str(self._problem or "the control process did not start"))

    def infer(self, model: str, sample: Tensor, *, timeout_s: float = 30.0) -> Answer:
        """Let the artifact that serves answer, after the frames that wait already.

        Args:
            model: As the configuration names it.
            sample: As many numbers as the model's input; real numbers for a quantized input
                are quantized.
            timeout_s: For all of it, the wait for a first artifact included.

        Raises:
            ValueError: There is no such model, or the sample does not fit it.
            NoAnswerError: There is no answer.
        """
        if model not in self._models:
            raise ValueError(f"no model {model!r}, only {', '.join(sorted(self._models))}")
        began_s = time.monotonic()
        lane = self._wait_for(model, timeout_s)
        serving = lane.serving
        if serving is not None:
            problem = objection(serving.model.inputs[0], sample)
            if problem is not None:
                raise ValueError(problem)
        outcome = ask(lane, sample, max(0.0, began_s + timeout_s - time.monotonic()))
        if isinstance(outcome, Unanswered):
            raise NoAnswerError(outcome.problem)
        load = outcome.load
        return Answer(
            outputs=outcome.outputs,
            infos=outcome.model.outputs,
            level=load.level,
            version=load.version,
            digest=load.digest,
            latency_ms=outcome.latency_ms,
        )

    def close(self) -> None:
        """End everything that was started; frames under way are answered."""
        self._closing.set()
        if self._control is not None:
            self._control.terminate()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    @property
    def _lanes(self) -> Mapping[str, Lane]:
        return self._half.lanes if self._half is not None else {}

    def _wait_for(self, model: str, timeout_s: float) -> Lane:
        until_s = time.monotonic() + timeout_s
        while True:
            lane = self._lanes.get(model)
            if lane is not None and lane.serving is not None:
                return lane
            if self._closing.is_set() or time.monotonic() > until_s:
                raise NoAnswerError(f"no artifact of {model!r} serves yet")
            time.sleep(POLL_S)

    def _run(self) -> None:
        """Serve one control process after another, until closed."""
        failures = 0
        while not self._closing.is_set():
            began_s = time.monotonic()
            try:
                self._serve()
            except (ConfigError, EngineMissingError, EOFError, OSError) as error:
                if not self._begun.is_set():
                    self._problem = error
                    break
            failures = 1 if time.monotonic() - began_s > START_S else failures + 1
            chance = SystemRandom().random()
            self._closing.wait(backoff_s(failures, chance=chance, base_s=0.5, cap_s=30.0))
        if self._half is not None:
            self._half.close()
        self._begun.set()

    def _open(self, half: InferenceProcess) -> None:
        self._half = half
        self._begun.set()

    def _start_control(self, pipe: socket.socket) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", "secateur_agent.beside"]
        control = subprocess.Popen(  # noqa: S603 - our own module
            [*command, str(pipe.fileno()), str(self._config)],
            pass_fds=[pipe.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C is the program's to handle
        )
        self._control = control
        if self._closing.is_set():
            control.terminate()
        return control

    def _serve(self) -> None:
        """Start a control process and obey it to its end.

        Raises:
            EOFError: It ended before it said what is to be done; stderr says why.
        """
        ours, theirs = socket.socketpair()
        with Pipe(ours) as pipe, theirs:
            control = self._start_control(theirs)
            try:
                theirs.close()
                if self._half is None:
                    half = InferenceProcess(pipe)
                    half.begin(lambda: self._open(half))
                else:
                    self._half.go_on(pipe)
            finally:
                control.terminate()
                try:
                    control.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    control.kill()
                    control.wait()
