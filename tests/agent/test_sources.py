"""Where frames come from: real files, commands, topics and an installed third party's."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secateur_agent.errors import ConfigError
from secateur_agent.inference.commands import ExecSpec, PluginSpec, ReplaySpec, TopicSpec
from secateur_agent.inference.frame import Frame, Outcome, Unanswered
from secateur_agent.inference.intake import Intake
from secateur_agent.inference.sources import open_source
from secateur_agent.inference.sources.topic import TopicSource
from secateur_agent.source import Source, SourceError


def intake_of(source: Source | None, limit: int = 1000) -> tuple[Intake, list[str]]:
    problems: list[str] = []
    return Intake(limit, source, problems.append), problems


def wait_until(holds: Callable[[], object]) -> None:
    until_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def take(intake: Intake) -> Frame:
    frame = intake.take(60.0)
    assert frame is not None
    return frame


def test_replay_gives_every_row_with_its_label_and_begins_again(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.savez(tmp_path / "f.npz", x=x, y=np.array([7, 8, 9]))
    intake, problems = intake_of(
        open_source(ReplaySpec(path=str(tmp_path / "f.npz"), rate_hz=500))
    )
    intake.open()
    frames = [take(intake) for _ in range(5)]
    intake.close()
    assert [frame.label for frame in frames] == [7, 8, 9, 7, 8]
    assert np.array_equal(frames[4].sample, x[1])
    arrivals = [frame.arrived_s for frame in frames]
    assert arrivals == sorted(arrivals)
    assert problems == []


def test_of_more_frames_than_may_wait_the_oldest_go_and_their_caller_is_told() -> None:
    intake, _ = intake_of(None, limit=2)
    told: list[tuple[int, Outcome]] = []

    def settle(number: int) -> Callable[[Outcome], None]:
        return lambda outcome: told.append((number, outcome))

    for number in range(5):
        intake.offer(Frame(0.0, np.zeros(1), label=number, settle=settle(number)))
    assert [take(intake).label for _ in range(2)] == [3, 4]
    assert (intake.offered, intake.dropped) == (5, 3)
    assert [number for number, _ in told] == [0, 1, 2]
    assert all(isinstance(each, Unanswered) and each.is_dropped for _, each in told)
    assert intake.take(0.01) is None


def exec_spec(program: str, *arguments: str) -> ExecSpec:
    command = (sys.executable, "-c", program, *arguments)
    return ExecSpec(command=command, dtype="int16", shape=(2, 3))


def test_what_a_command_writes_is_cut_into_frames() -> None:
    # In odd pieces, as a pipe may deliver them.
    program = (
        "import sys, time\n"
        "content = b''.join(i.to_bytes(2, sys.byteorder) for i in range(12))\n"
        "for i in range(0, 24, 5):\n"
        "    sys.stdout.buffer.write(content[i:i+5]); sys.stdout.buffer.flush()\n"
        "time.sleep(600)\n"
    )
    intake, problems = intake_of(open_source(exec_spec(program)))
    intake.open()
    frames = [take(intake).sample for _ in range(2)]
    intake.close()
    assert np.array_equal(np.stack(frames).ravel(), np.arange(12, dtype=np.int16))
    assert frames[0].shape == (2, 3)
    assert problems == []


def test_a_command_that_ends_is_reported_and_started_again() -> None:
    program = "import sys; sys.stdout.buffer.write(bytes(12)); sys.exit(3)"
    intake, problems = intake_of(open_source(exec_spec(program)))
    intake.open()
    for _ in range(3):
        take(intake)
    intake.close()
    assert len(problems) >= 2
    assert all("ended with code 3" in problem for problem in problems)


def test_a_command_that_cannot_be_started_is_reported() -> None:
    spec = ExecSpec(command=("/nowhere/camera",), dtype="uint8", shape=(1,))
    intake, problems = intake_of(open_source(spec))
    intake.open()
    wait_until(lambda: problems)
    intake.close()
    assert "cannot start /nowhere/camera: No such file" in problems[0]


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_command_and_its_children_end_with_the_source_even_if_they_will_not(
    tmp_path: Path,
) -> None:
    program = (
        "import os, signal, sys, time\n"
        "child = os.fork()\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "name = '/child' if child == 0 else '/parent'\n"
        "open(sys.argv[1] + name, 'w').write(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    intake, _ = intake_of(open_source(exec_spec(program, str(tmp_path))))
    intake.open()
    wait_until(lambda: len([p for p in tmp_path.iterdir() if p.read_text()]) == 2)
    pids = [int(path.read_text()) for path in tmp_path.iterdir()]
    assert all(is_alive(pid) for pid in pids)
    intake.close()
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


READER = """
import sys, threading, time
from secateur_agent.inference.commands import ExecSpec
from secateur_agent.inference.sources import open_source

program = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(99)"
command = (sys.executable, "-c", program, sys.argv[1])
source = open_source(ExecSpec(command=command, dtype="uint8", shape=(1,)))
source.run(lambda *frame: None, threading.Event())
"""


def test_a_command_ends_when_the_process_that_reads_it_is_killed(tmp_path: Path) -> None:
    pid_path = tmp_path / "pid"
    reader = subprocess.Popen([sys.executable, "-c", READER, str(pid_path)])
    wait_until(lambda: pid_path.exists() and pid_path.read_text())
    pid = int(pid_path.read_text())
    assert is_alive(pid)
    reader.kill()
    reader.wait()
    wait_until(lambda: not is_alive(pid))


def test_a_payload_is_a_frame_or_one_complaint() -> None:
    source = open_source(TopicSpec(topic="a/b", dtype="float32", shape=(2,)))
    assert isinstance(source, TopicSource)
    source.arrive(np.zeros(2, np.float32).tobytes())  # nobody can answer yet: let go
    intake, _ = intake_of(source)
    intake.open()
    sent = np.array([1.5, -2], np.float32)
    while not intake.offered:  # its thread may not have begun
        source.arrive(sent.tobytes())
        time.sleep(0.01)
    assert np.array_equal(take(intake).sample, sent)
    with pytest.raises(SourceError, match="9 bytes where a frame has 8"):
        source.arrive(bytes(9))
    source.arrive(bytes(9))
    intake.close()


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution with two sources, as pip would lay it out."""
    info = tmp_path / "thermal-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thermal\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[secateur.sources]\nthermal = thermal_camera:Camera\nbroken = thermal_camera:Broken\n"
    )
    (tmp_path / "thermal_camera.py").write_text(
        "import numpy as np\n"
        "class Camera:\n"
        "    def __init__(self, device, rows=2):\n"
        "        if device != '/dev/video2': raise ValueError(f'no camera at {device}')\n"
        "        self.sample = np.zeros(rows, np.float32)\n"
        "        self.tries = 0\n"
        "    def run(self, offer, stopping):\n"
        "        self.tries += 1\n"
        "        offer(self.sample + self.tries, label=self.tries)\n"
        "        if self.tries == 1: raise OSError('cable')\n"
        "        stopping.wait()\n"
        "class Broken: pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("third_party")
def test_a_third_partys_source_is_found_by_its_entry_point_and_survives_its_failure() -> None:
    source = open_source(PluginSpec(name="thermal", options={"device": "/dev/video2"}))
    assert source.sample is not None
    intake, problems = intake_of(source)
    intake.open()
    first, second = take(intake), take(intake)
    intake.close()
    assert (first.label, second.label) == (1, 2)
    assert np.array_equal(second.sample, np.full(2, 2, np.float32))
    assert problems == ["source: OSError: cable"]


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("sonar", {}, r"no source 'sonar' is installed \(there are: broken, thermal\)"),
        ("thermal", {"device": "x"}, "source 'thermal': ValueError: no camera at x"),
        ("thermal", {"colour": 1}, "source 'thermal': TypeError"),
        ("broken", {}, "it is no Source"),
    ],
)
def test_a_third_partys_source_that_cannot_be_used_is_named(
    name: str, options: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        open_source(PluginSpec(name=name, options=options))


def test_frames_offered_from_many_threads_are_all_counted() -> None:
    intake, _ = intake_of(None, limit=50)
    sample = np.zeros(1)

    def offer() -> None:
        for _ in range(2000):
            intake.offer(Frame(0.0, sample))

    threads = [threading.Thread(target=offer) for _ in range(4)]
    taken = 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += intake.take(0.001) is not None
    while intake.take(0.01) is not None:
        taken += 1
    assert intake.offered == 8000
    assert taken + intake.dropped == 8000
