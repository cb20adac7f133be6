"""What breaks on devices: full and read-only disks, damaged blobs, clocks, sensors."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur_agent.adapters import pressure
from secateur_agent.adapters.pressure import KernelReadings
from secateur_agent.adapters.store import Store
from secateur_agent.core.guard import Reading
from secateur_protocols.event import DeviceEvent, EventKind
from secateur_protocols.ota import Ota, ReasonCode, UpdateState
from secateur_protocols.state import Reported
from secateur_protocols.telemetry import Telemetry
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from support.agent_process import EVALUATION, AgentProcess, begin_at
from support.kernel_tree import KernelTree
from support.listener import Listener
from support.published import PublishedLadder

pytestmark = [pytest.mark.broker, pytest.mark.engine]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk that three levels fit on; the agent's state folder is there."""
    folder = tmp_path / "agent" / "state"
    folder.mkdir(parents=True)
    mounted = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    if mounted is not None:
        pytest.skip(f"a small disk cannot be mounted here: {mounted}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*arguments: str) -> str | None:
    """Mount; give what speaks against it, or ``None``."""
    program = shutil.which("mount")
    if program is None or os.geteuid() != 0:
        return "it takes root and mount(8)"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip()


def wait_for_answers(listener: Listener, level: int) -> Telemetry:
    """See that a level answers frames now."""
    since = len(listener.heard)
    return listener.wait_for(
        Telemetry,
        lambda said: any(
            each.level == level and any(served.answered for served in each.served)
            for each in said.models
        ),
        since=since,
    )


def fault(listener: Listener, word: str, *, since: int = 0) -> DeviceEvent:
    return listener.wait_for(
        DeviceEvent,
        lambda said: said.kind is EventKind.FAULT and word in said.text,
        since=since,
    )


def test_a_full_disk_is_reported_and_the_incumbent_serves_on(
    small_disk: Path, agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    begin_at(agent, listener, published, 2)
    # What is left is less than another level takes.
    free_bytes = shutil.disk_usage(small_disk).free
    (small_disk / "other-peoples-logs").write_bytes(bytes(max(0, free_bytes - 4096)))
    since = len(listener.heard)
    listener.desire(published.desired(2, 0))
    listener.wait_for(
        Ota,
        lambda said: any(
            each.state is UpdateState.FAILED and each.reason is ReasonCode.NO_SPACE
            for each in said.updates
        ),
        since=since,
    )
    wait_for_answers(listener, 2)
    (small_disk / "other-peoples-logs").unlink()
    # Another wish and back again: sooner than the next reconciliation.
    listener.desire(published.desired(3, 1))
    listener.desire(published.desired(4, 0))
    listener.wait_for_level(0, since=since)


def test_a_read_only_disk_serves_what_was_committed_and_says_so(
    small_disk: Path, agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    before = begin_at(agent, listener, published, 1)
    agent.kill()
    assert mount("-o", "remount,ro", str(small_disk)) is None
    boots = [before.boot]
    for _ in range(2):
        since = len(listener.heard)
        agent.start()
        fault(listener, "nothing can be committed", since=since)
        reported = listener.wait_for(Reported, lambda said: bool(said.models), since=since)
        boots.append(reported.boot)
        wait_for_answers(listener, 1)
        agent.kill()
    assert boots == sorted(set(boots)), "a late message could not be told from a new one"
    assert mount("-o", "remount,rw", str(small_disk)) is None


def test_a_flipped_bit_in_the_committed_artifact_serves_the_one_before_and_fetches_again(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    agent.start()
    for revision, level in ((1, 2), (2, 1)):
        listener.desire(published.desired(revision, level))
        listener.wait_for_level(level)
    agent.kill()
    digest = published.ladder.levels[1].digest
    flip_a_bit(agent.state_dir / "blobs" / digest)
    since = len(listener.heard)
    agent.start()
    fault(listener, digest[:12], since=since)
    listener.wait_for_level(2, since=since)
    listener.wait_for_level(1, since=since)
    assert Store(agent.state_dir).holds(digest)


def test_a_flipped_bit_that_an_inference_process_finds_is_mended_without_a_restart(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    agent.start()
    for revision, level in ((1, 2), (2, 1)):
        listener.desire(published.desired(revision, level))
        listener.wait_for_level(level)
    flip_a_bit(agent.state_dir / "blobs" / published.ladder.levels[1].digest)
    since = len(listener.heard)
    agent.inference().kill()
    fault(listener, "cannot serve", since=since)
    wait_for_answers(listener, 1)
    assert agent.is_running()


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


JUMPING = """
import datetime, random, sys, time
real = time.time
class Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
time.time = lambda: real() + random.choice([-1, 1]) * random.uniform(0, 20) * 365 * 86400
datetime.datetime = Jumping
from secateur_agent.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_wall_clock_that_jumps_by_years_changes_nothing(
    agent: AgentProcess,
    listener: Listener,
    published: PublishedLadder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("support.agent_process.AGENT", [sys.executable, "-c", JUMPING, "run"])
    agent.start()
    for revision, level in ((1, 2), (2, 0), (3, 1)):
        since = len(listener.heard)
        listener.desire(published.desired(revision, level))
        listener.wait_for_level(level, since=since)
    wait_for_answers(listener, 1)
    said = [each for each in listener.heard if isinstance(each, Telemetry)]
    assert [each.order for each in said] == sorted({each.order for each in said})
    years = {each.sent_at[:4] for each in said}
    assert len(years) > 1, "the clock did not jump"


def test_sensors_that_vanish_while_they_are_read_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, heat = KernelTree(tmp_path), "/sys/class/thermal/thermal_zone0/temp"
    tree.put(heat, 90_000)
    tree.put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 250 kB")
    monkeypatch.setattr(pressure, "ZONES_S", 0.0)
    readings = KernelReadings(tree.files)
    assert readings.read() == Reading(memory_available_ratio=0.25, temperature_c=90.0)
    for broken in ("", "not a number", "999999999"):
        tree.put(heat, broken)
        assert readings.read().temperature_c is None
    shutil.rmtree(tmp_path / "sys")
    assert readings.read().temperature_c is None
    shutil.rmtree(tmp_path / "proc")
    assert readings.read() == Reading()


def test_a_control_groups_limit_is_the_devices_own(tmp_path: Path) -> None:
    tree = KernelTree(tmp_path)
    tree.put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 900 kB")
    tree.put("/proc/self/cgroup", "0::/")
    tree.put("/sys/fs/cgroup/cgroup.controllers", "memory")
    tree.put("/sys/fs/cgroup/memory.max", 100_000)
    tree.put("/sys/fs/cgroup/memory.current", 98_000)
    assert KernelReadings(tree.files).read().memory_available_ratio == 0.02


def test_a_model_without_an_artifact_does_not_hold_up_another(
    mosquitto: EmbeddedBroker, listener: Listener, published: PublishedLadder, tmp_path: Path
) -> None:
    other = f"""
[[models]]
name = "no-such-model"
deadline_ms = 5000.0
[models.source]
kind = "replay"
path = "{EVALUATION}"
rate_hz = 20.0
"""
    with AgentProcess(tmp_path / "two", mosquitto.url, EVALUATION, more=other) as agent:
        begin_at(agent, listener, published, 1)
        wait_for_answers(listener, 1)
