"""The agent inside a Python program: it answers, adapts, and survives its control process."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from secateur_agent import Agent, Answer, NoAnswerError
from secateur_agent.errors import ConfigError
from secateur_protocols.presence import Presence, PresenceState
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from support.inference import DIGITS
from support.listener import Listener
from support.published import PublishedLadder
from support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.engine]

CONFIG = """\
device = "meter-7"
state_dir = "{folder}/state"
[trust]
accept_unsigned = true

[broker]
url = "{broker}"
[transfer]
spread_s = 0.0

[telemetry]
period_s = 0.2
[[models]]
name = "digits"
deadline_ms = 5000.0
queue = 10000
"""


@pytest.fixture
def config(mosquitto: EmbeddedBroker, tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG.format(folder=tmp_path, broker=mosquitto.url))
    return path


def frames() -> tuple[np.ndarray, np.ndarray]:
    data = np.load(DIGITS.parent / "evaluation.npz")
    return data["x"].astype(np.float32), data["y"]


def controls() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "secateur_agent.beside" in child.cmdline():
                found.append(child)
    return found


def has_control_but(old: psutil.Process) -> bool:
    return any(control.pid != old.pid for control in controls())


def test_a_program_infers_while_levels_change_and_the_control_process_dies(
    config: Path, listener: Listener, published: PublishedLadder
) -> None:
    samples, labels = frames()
    answers: list[tuple[int, Answer]] = []
    done = threading.Event()

    def ask(agent: Agent) -> None:
        number = 0
        while not done.is_set():
            index = number % len(samples)
            answers.append((index, agent.infer("digits", samples[index], timeout_s=90)))
            number += 1

    with Agent(config) as agent:
        with pytest.raises(NoAnswerError, match="serves yet"):
            agent.infer("digits", samples[0], timeout_s=0.2)
        listener.desire(published.desired(1, 1))
        asking = threading.Thread(target=ask, args=(agent,))
        asking.start()
        listener.wait_for_level(1)
        listener.desire(published.desired(2, 2))
        listener.wait_for_level(2)
        (control,) = controls()
        control.kill()
        before = len(answers)
        wait_until(lambda: len(answers) > before + 50)
        wait_until(lambda: has_control_but(control))
        since = len(listener.heard)
        listener.desire(published.desired(3, 0))
        listener.wait_for_level(0, since=since)
        wait_until(lambda: answers[-1][1].level == 0)
        done.set()
        asking.join()
    assert {answer.level for _, answer in answers} == {0, 1, 2}
    digests = {answer.digest for _, answer in answers}
    assert digests == {level.digest for level in published.ladder.levels}
    right = [int(answer.outputs[0].argmax()) == labels[index] for index, answer in answers]
    assert np.mean(right) > 0.9
    listener.wait_for(Presence, lambda said: said.state is PresenceState.STOPPED)
    assert controls() == []


def test_what_cannot_be_inferred_is_named(
    config: Path, listener: Listener, published: PublishedLadder
) -> None:
    with Agent(config) as agent:
        listener.desire(published.desired(1, 1))
        agent.infer("digits", frames()[0][0], timeout_s=90)
        with pytest.raises(ValueError, match="no model 'other', only digits"):
            agent.infer("other", frames()[0][0])
        with pytest.raises(ValueError, match="3 numbers where the model takes 64"):
            agent.infer("digits", np.zeros(3, np.float32))
        with pytest.raises(ValueError, match="finite"):
            agent.infer("digits", np.full(64, np.nan, np.float32))
    with pytest.raises(NoAnswerError):
        agent.infer("digits", frames()[0][0], timeout_s=1)


def test_a_configuration_that_cannot_be_used_starts_nothing(config: Path) -> None:
    with config.open("a") as file:
        file.write('[models.source]\nkind = "replay"\npath = "/nowhere.npz"\n')
    with pytest.raises(ConfigError, match=r"cannot read /nowhere.npz"), Agent(config):
        pass
    assert controls() == []


PROGRAM = """
import sys, time
from secateur_agent import Agent
with Agent(sys.argv[1]):
    print("started", flush=True)
    time.sleep(600)
"""


def test_a_program_that_is_killed_takes_its_control_process_with_it(config: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(config)], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    with program.stdout:
        assert program.stdout.readline() == "started\n"
        children = psutil.Process(program.pid).children(recursive=True)
        assert len(children) == 1
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
    _, alive = psutil.wait_procs(children, timeout=90)
    assert alive == []
