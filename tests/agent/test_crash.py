"""The kill matrix: SIGKILL at every phase and at random moments; a verified model serves."""

import random
import time

import pytest

from secateur_agent.adapters.store import Store
from secateur_agent.core.swap import MAX_REFUSALS, TOLD, Phase
from secateur_protocols.ota import Ota, UpdateState
from secateur_protocols.state import Reported
from secateur_protocols.telemetry import Telemetry
from support.agent_process import AgentProcess, begin_at
from support.listener import Listener
from support.published import PublishedLadder
from support.waiting import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.engine, pytest.mark.slow]


def restart(agent: AgentProcess, listener: Listener, published: PublishedLadder) -> Reported:
    """Start after a kill, and see that an artifact of the ladder answers frames."""
    since = len(listener.heard)
    agent.start()
    reported = listener.wait_for(Reported, lambda said: bool(said.models), since=since)
    levels = {manifest.digest: manifest.level for manifest in published.ladder.levels}
    assert levels[reported.models[0].digest] == reported.models[0].level
    listener.wait_for(
        Telemetry,
        lambda said: (
            said.boot == reported.boot and any(each.answered > 0 for each in said.models)
        ),
        since=since,
    )
    return reported


def wait_for_update(listener: Listener, state: UpdateState, level: int, *, since: int) -> None:
    listener.wait_for(
        Ota,
        lambda said: any((each.state, each.level) == (state, level) for each in said.updates),
        since=since,
    )


def test_a_kill_in_any_phase_restarts_on_a_verified_model(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    begin_at(agent, listener, published, 0)
    revision = 1
    for phase in (*TOLD, None):
        told = UpdateState.SUCCEEDED if phase is None else TOLD[phase]
        revision, level = revision + 1, 1 if revision % 2 else 2
        since = len(listener.heard)
        listener.desire(published.desired(revision, level))
        wait_for_update(listener, told, level, since=since)
        agent.kill()
        restart(agent, listener, published)
        listener.wait_for_level(level, since=since)


def kill_at_random_moments(
    times: int, agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    chance = random.Random()
    begin_at(agent, listener, published, 0)
    for revision in range(2, 2 + times):
        since = len(listener.heard)
        listener.desire(published.desired(revision, revision % 3))
        time.sleep(chance.uniform(0.0, 2.0))
        agent.kill()
        restart(agent, listener, published)
        listener.wait_for_level(revision % 3, since=since)
    assert "Traceback" not in agent.log


def test_kills_at_random_moments_of_a_fetch_swap_loop_restart_on_a_verified_model(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    kill_at_random_moments(5, agent, listener, published)


@pytest.mark.nightly
@pytest.mark.timeout(3000)
def test_two_hundred_kills_at_random_moments_restart_on_a_verified_model(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    kill_at_random_moments(200, agent, listener, published)


def test_an_inference_process_that_is_killed_serves_again_without_a_restart_of_the_agent(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    begin_at(agent, listener, published, 0)
    pid = agent.pid
    for _ in range(3):
        killed = agent.inference()
        killed.kill()
        wait_until(lambda killed=killed: not killed.is_running())  # type: ignore[misc] # bound now
        since = len(listener.heard)
        listener.wait_for(
            Telemetry,
            lambda said: any(each.answered > 0 and each.level == 0 for each in said.models),
            since=since,
        )
    assert agent.pid == pid
    assert agent.is_running()


def test_an_artifact_that_kills_the_inference_process_is_refused_and_the_incumbent_serves(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    """The kill stands for an artifact that crashes the engine once it serves."""
    begin_at(agent, listener, published, 0)
    since = len(listener.heard)
    listener.desire(published.desired(2, 1))
    for times in range(1, MAX_REFUSALS + 1):
        wait_for_update(listener, UpdateState.PROBATION, 1, since=since)
        agent.inference().kill()
        wait_for_update(listener, UpdateState.ROLLED_BACK, 1, since=since)
        since = len(listener.heard)
        # Another wish and back again: sooner than the next reconciliation.
        listener.desire(published.desired(10 * times, 0))
        listener.desire(published.desired(10 * times + 1, 1))
    wait_for_update(listener, UpdateState.REJECTED, 1, since=since)
    since = len(listener.heard)
    told = listener.wait_for(Telemetry, lambda said: bool(said.models), since=since)
    assert told.models[0].level == 0


def test_an_artifact_that_takes_the_whole_agent_down_is_refused_after_some_boots(
    agent: AgentProcess, listener: Listener, published: PublishedLadder
) -> None:
    """Whoever kills the agent in the same phase again and again, the loop ends."""
    begin_at(agent, listener, published, 0)
    since = len(listener.heard)
    listener.desire(published.desired(2, 1))
    for _ in range(MAX_REFUSALS):
        wait_for_update(listener, TOLD[Phase.PROBATION], 1, since=since)
        agent.kill()
        since = len(listener.heard)
        reported = restart(agent, listener, published)
        assert reported.models[0].level == 0
    wait_for_update(listener, UpdateState.REJECTED, 1, since=since)
    kept = Store(agent.state_dir).recall("digits")
    assert kept.incumbent is not None
    assert kept.incumbent.target.level == 0
    assert kept.refusals == {published.ladder.levels[1].digest: MAX_REFUSALS}
