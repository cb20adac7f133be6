"""A real agent process against a real broker: birth, death, fetch, serve, stop."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from secateur_agent.adapters.store import Store
from secateur_protocols.info import Info
from secateur_protocols.ota import Ota, ReasonCode
from secateur_protocols.presence import Presence, PresenceState, Rebirth
from secateur_protocols.state import Reported
from secateur_protocols.telemetry import Telemetry
from secateur_protocols.topics import rebirth
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from support.agent_process import EVALUATION, AgentProcess, begin_at
from support.listener import Listener
from support.published import PublishedLadder
from support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.engine]


def is_online(presence: Presence) -> bool:
    return presence.state is PresenceState.ONLINE


def test_a_birth_says_everything_and_a_clean_stop_says_stopped(
    agent: AgentProcess, listener: Listener
) -> None:
    agent.start()
    listener.wait_for(Presence, is_online)
    info = listener.wait_for(Info)
    assert [task.model for task in info.tasks] == ["digits"]
    listener.wait_for(Reported)
    listener.wait_for(Ota)
    assert agent.stop() == 0
    stopped = listener.wait_for(Presence, lambda said: said.state is PresenceState.STOPPED)
    assert stopped.boot == info.boot
    assert "Traceback" not in agent.log


def test_a_killed_agent_is_declared_dead_by_the_broker(
    agent: AgentProcess, listener: Listener
) -> None:
    agent.start()
    alive = listener.wait_for(Presence, is_online)
    agent.kill()
    dead = listener.wait_for(Presence, lambda said: said.state is PresenceState.OFFLINE)
    assert dead.order == alive.order


def test_a_desired_level_is_fetched_served_and_reported_with_proof(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    reported = begin_at(agent, listener, published, 1)
    (model,) = reported.models
    assert model.digest == published.ladder.levels[1].digest
    assert model.proof is not None
    assert model.proof.digest == model.digest
    told = listener.wait_for(Telemetry, lambda said: any(each.served for each in said.models))
    (measured,) = told.models
    assert (measured.level, measured.lost) == (1, 0)
    assert measured.p95_ms is not None


def test_a_switch_under_load_loses_no_frame(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    agent.start()
    for revision, level in enumerate((0, 2, 1, 0), start=1):
        since = len(listener.heard)
        listener.desire(published.desired(revision, level))
        listener.wait_for_level(level, since=since)
    since = len(listener.heard)
    last = listener.wait_for(Telemetry, lambda said: bool(said.models), since=since)
    assert last.models[0].lost == 0
    assert last.models[0].switches == 3


def test_a_rebirth_is_answered_by_everything_again(
    agent: AgentProcess, listener: Listener
) -> None:
    agent.start()
    listener.wait_for(Ota)
    since = len(listener.heard)
    listener.send(rebirth("default"), Rebirth(device=None).model_dump_json().encode())
    listener.wait_for(Presence, is_online, since=since)
    listener.wait_for(Info, since=since)
    listener.wait_for(Reported, since=since)


def test_a_broker_that_goes_and_comes_back_hears_everything_again(
    agent: AgentProcess, published: PublishedLadder, mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    port = int(mosquitto.url.rsplit(":", 1)[1])
    with Listener(mosquitto.url) as before:
        agent.start()
        before.desire(published.desired(1, 2))
        before.wait_for_level(2)
    mosquitto.stop()
    again = EmbeddedBroker(tmp_path / "again", port)
    try:
        with Listener(again.url) as after:
            presence = after.wait_for(Presence, is_online)
            assert presence.session > 1
            after.wait_for_level(2)
    finally:
        again.stop()


def test_garbage_on_every_topic_it_hears_changes_nothing(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    begin_at(agent, listener, published, 1)
    chance = random.Random(7)
    for _ in range(50):
        listener.send(rebirth("default"), chance.randbytes(chance.randrange(1, 400)))
        listener.send(rebirth("default"), b'{"device": 7}')
    since = len(listener.heard)
    listener.wait_for(Telemetry, lambda said: bool(said.models), since=since)
    assert "Traceback" not in agent.log


def test_memory_pressure_steps_down_alone_and_only_the_coordinator_widens_again(
    mosquitto: EmbeddedBroker, listener: Listener, published: PublishedLadder, tmp_path: Path
) -> None:
    with pressed(mosquitto, tmp_path) as (agent, overrides):
        begin_at(agent, listener, published, 0)
        wait_for_standby(agent)
        since = len(listener.heard)
        overrides.write_text('{"memory_available_bytes": 1000}')
        told = listener.wait_for_level(1, since=since)
        assert told.models[0].stepped_down is ReasonCode.SLO_MEMORY
        told = listener.wait_for_level(2, since=since)  # it has not helped: one more
        overrides.unlink()
        since = len(listener.heard)
        listener.desire(published.desired(2, 0))  # nothing new: it was wanted before
        listener.wait_for(Reported, lambda said: said.revision == 2, since=since)
        listener.desire(published.desired(3, 2))
        listener.wait_for(
            Reported,
            lambda said: said.revision == 3 and said.models[0].stepped_down is None,
            since=since,
        )
        assert not any(
            isinstance(said, Reported) and said.models[0].level < 2
            for said in listener.heard[since:]
        )
        listener.desire(published.desired(4, 0))
        listener.wait_for_level(0, since=since)


def test_a_crossed_limit_is_told_before_the_period_ends(
    mosquitto: EmbeddedBroker, listener: Listener, published: PublishedLadder, tmp_path: Path
) -> None:
    with pressed(mosquitto, tmp_path, period_s=3600.0) as (agent, overrides):
        begin_at(agent, listener, published, 2)  # nothing narrower: it cannot step down
        assert not any(isinstance(said, Telemetry) for said in listener.heard)
        overrides.write_text('{"memory_available_bytes": 1000}')
        told = listener.wait_for(Telemetry)
        assert told.resources.memory_available_bytes == 1000
        overrides.unlink()
        listener.wait_for(
            Telemetry,
            lambda said: said.resources.memory_available_bytes == 1_000_000_000,
        )


def test_stepping_down_needs_no_broker(
    mosquitto: EmbeddedBroker, published: PublishedLadder, tmp_path: Path
) -> None:
    port = int(mosquitto.url.rsplit(":", 1)[1])
    with pressed(mosquitto, tmp_path) as (agent, overrides):
        with Listener(mosquitto.url) as before:
            agent.start()
            before.desire(published.desired(1, 0))
            before.wait_for_level(0)
        wait_for_standby(agent)
        mosquitto.stop()
        overrides.write_text('{"memory_available_bytes": 1000}')
        wait_until(lambda: committed_level(agent) == 2)
        overrides.unlink()
        again = EmbeddedBroker(tmp_path / "again", port)
        try:
            with Listener(again.url) as after:
                after.wait_for_level(2)
        finally:
            again.stop()


@contextmanager
def pressed(
    mosquitto: EmbeddedBroker, tmp_path: Path, *, period_s: float = 0.2
) -> Iterator[tuple[AgentProcess, Path]]:
    """Make an agent that plays a device whose memory a file sets."""
    overrides = tmp_path / "pressure.json"
    simulation = f"""
[simulation]
hardware_class = "test"
memory_total_bytes = 1000000000
overrides = "{overrides}"
"""
    with AgentProcess(
        tmp_path / "pressed", mosquitto.url, EVALUATION, more=simulation, period_s=period_s
    ) as agent:
        yield agent, overrides


def committed_level(agent: AgentProcess) -> int | None:
    kept = Store(agent.state_dir).recall("digits")
    return kept.incumbent.target.level if kept.incumbent is not None else None


def wait_for_standby(agent: AgentProcess) -> None:
    wait_until(lambda: "stands by" in agent.log)
