"""The agent's core: what is said when; late, doubled or reordered news change nothing."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core import agent, swap
from secateur_agent.core.probation import UNSEEN
from secateur_agent.core.profile import NORMAL
from secateur_agent.core.report import LevelServed
from secateur_protocols.codec import encode
from secateur_protocols.event import DeviceEvent, EventKind
from secateur_protocols.ota import Ota, UpdateState
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Reported
from secateur_protocols.telemetry import Resources, Telemetry
from secateur_protocols.topics import Leaf
from support import ladders
from support.reports import REPORT, info
from support.swap_histories import Answer, Player, Wish

INFO = info("digits")

revisions = st.lists(st.integers(1, 9), max_size=12)
levels = st.integers(0, 2)


def fresh(incumbent: swap.Artifact | None = None) -> agent.AgentState:
    return agent.AgentState(info=INFO, swaps={"digits": swap.SwapState(incumbent=incumbent)})


def talkative() -> agent.AgentState:
    """An agent that says every period."""
    return dataclasses.replace(fresh(), profile=dataclasses.replace(NORMAL, silence_s=0.0))


def period(
    *, elapsed_s: float = 1.0, answered: int = 0, sent_at: str = "2026-01-01T00:00:00Z"
) -> agent.PeriodEnded:
    """Give a period in which one level answered so much."""
    served = (LevelServed(level=1, answered=answered, labelled=0, correct=0),)
    return agent.PeriodEnded(
        sent_at=sent_at,
        period_s=elapsed_s,
        elapsed_s=elapsed_s,
        resources=Resources(),
        reports=(dataclasses.replace(REPORT, served=served),) if answered else (),
        held=(),
    )


def published(effects: tuple[agent.Effect, ...]) -> list[agent.Publish]:
    return [effect for effect in effects if isinstance(effect, agent.Publish)]


def messages_of(steps: list[agent.Step]) -> list[agent.Publish]:
    return [each for step in steps for each in published(step.effects)]


def run(state: agent.AgentState, events: list[agent.Event]) -> list[agent.Step]:
    steps = []
    for event in events:
        following = agent.step(state, event)
        state = following.state
        steps.append(following)
    return steps


@pytest.mark.parametrize("kind", [agent.Connected, agent.RebirthDue])
@given(session=st.integers(1, 99))
def test_w2_every_connection_says_presence_info_reported_ota_in_this_order(
    kind: type[agent.Connected | agent.RebirthDue], session: int
) -> None:
    (step,) = run(fresh(ladders.artifact(0)), [kind(session)])
    said = published(step.effects)
    assert [each.leaf for each in said] == [Leaf.PRESENCE, Leaf.INFO, Leaf.REPORTED, Leaf.OTA]
    presence = said[0].message
    assert presence == Presence(state=PresenceState.ONLINE, boot=INFO.boot, session=session)


@given(st.integers(1, 5))
def test_w2_the_second_connection_says_as_much_as_the_first(times: int) -> None:
    steps = run(fresh(), [agent.Connected(session + 1) for session in range(times)])
    said = [[each.leaf for each in published(step.effects)] for step in steps]
    assert all(each == said[0] for each in said)


@given(st.lists(st.tuples(st.integers(1, 9), levels), max_size=12))
def test_w4_only_a_newer_revision_changes_anything(news: list[tuple[int, int]]) -> None:
    state = fresh(ladders.artifact(0))
    newest = 0
    for revision, level in news:
        following = agent.step(state, agent.DesiredArrived(ladders.desired(revision, level)))
        if revision <= newest:
            assert following.state == state
            assert following.effects == ()
        else:
            newest = revision
            assert following.state.desired is not None
            assert following.state.desired.revision == revision
        state = following.state


@given(st.lists(st.tuples(st.integers(1, 9), levels), min_size=1, max_size=8), st.randoms())
def test_w4_reordered_and_doubled_news_end_at_the_newest(
    news: list[tuple[int, int]], chance: object
) -> None:
    by_revision = dict(news)
    arriving = [ladders.desired(revision, level) for revision, level in by_revision.items()] * 2
    chance.shuffle(arriving)  # type: ignore[attr-defined] # a random.Random
    steps = run(fresh(), [agent.DesiredArrived(each) for each in arriving])
    machine = steps[-1].state.swaps["digits"]
    assert machine.wanted == ladders.target(by_revision[max(by_revision)])


@given(st.lists(levels, max_size=10))
def test_w4_our_messages_are_ordered_by_boot_and_sequence(wishes: list[int]) -> None:
    news = [
        agent.DesiredArrived(ladders.desired(revision + 1, level))
        for revision, level in enumerate(wishes)
    ]
    steps = run(fresh(ladders.artifact(0)), [agent.Connected(1), *news, agent.RebirthDue(1)])
    orders = [
        (each.message.boot, each.message.sequence)
        for each in messages_of(steps)
        if hasattr(each.message, "boot") and hasattr(each.message, "sequence")
    ]
    assert orders == sorted(set(orders))


@given(revisions)
def test_w4_reported_carries_the_revision_that_it_answers(order: list[int]) -> None:
    state = fresh(ladders.artifact(0))
    for revision in order:
        following = agent.step(state, agent.DesiredArrived(ladders.desired(revision)))
        for each in published(following.effects):
            if isinstance(each.message, Reported):
                assert following.state.desired is not None
                assert each.message.revision == following.state.desired.revision
        state = following.state


def test_a_wish_for_a_model_without_a_task_is_refused_aloud() -> None:
    news = agent.DesiredArrived(ladders.desired(1, model="stranger"))
    (step,) = run(fresh(), [news])
    said = [each.message for each in published(step.effects)]
    refused = [each for each in said if isinstance(each, DeviceEvent)]
    assert [each.kind for each in refused] == [EventKind.REFUSED]
    assert not any(isinstance(effect, agent.ForModel) for effect in step.effects)


def test_a_commit_is_reported_with_its_proof() -> None:
    steps = run(fresh(), [agent.DesiredArrived(ladders.desired(1, 1))])
    player = Player()
    events = [
        each.event for each in player.play([Wish(ladders.target(1)), *[Answer.SUCCEEDS] * 6])
    ]
    state = steps[-1].state
    last: list[Reported] = []
    for event in events[1:]:
        following = agent.step(state, agent.Swap("digits", event))
        state = following.state
        said = [each.message for each in published(following.effects)]
        last = [each for each in said if isinstance(each, Reported)] or last
    (model,) = last[-1].models
    wanted = ladders.artifact(1)
    assert (model.level, model.digest) == (1, wanted.digest)
    assert model.proof == ladders.proof(wanted.digest)


@given(st.integers(1, 300))
def test_refusals_told_are_bounded_however_many_there_are(count: int) -> None:
    refusals = {ladders.digest_of(str(each)): 1 for each in range(count)}
    state = agent.AgentState(info=INFO, swaps={"digits": swap.SwapState(refusals=refusals)})
    (step,) = run(state, [agent.Connected(1)])
    for each in published(step.effects):
        encode(each.message)


def test_an_update_that_no_frame_tried_succeeds_on_the_probes_word_and_says_so() -> None:
    on_trial = swap.SwapState(
        phase=swap.Phase.PROBATION,
        wanted=ladders.target(1),
        candidate=ladders.artifact(1),
        ticket=7,
    )
    state = agent.AgentState(info=INFO, swaps={"digits": on_trial})
    (step,) = run(state, [agent.Swap("digits", swap.Done(7, UNSEEN))])
    said = [each.message for each in published(step.effects)]
    (event,) = (each for each in said if isinstance(each, DeviceEvent))
    (ota,) = (each for each in said if isinstance(each, Ota))
    assert (event.kind, event.text) == (EventKind.SWITCHED, f"level 1: {UNSEEN}")
    assert (ota.updates[0].state, ota.updates[0].detail) == (UpdateState.SUCCEEDED, UNSEEN)


@given(st.text(max_size=5000))
def test_a_fault_of_any_length_fits_into_a_message(text: str) -> None:
    (step,) = run(fresh(), [agent.FaultSeen("digits", text)])
    (said,) = published(step.effects)
    assert isinstance(said.message, DeviceEvent)
    assert text.startswith(said.message.text)


@given(st.integers(1, 20))
def test_telemetry_counts_up_by_one_per_period(periods: int) -> None:
    said = [each.message for each in messages_of(run(talkative(), [period()] * periods))]
    sequences = [each.sequence for each in said if isinstance(each, Telemetry)]
    assert sequences == list(range(periods))


@given(
    st.sampled_from(["1970-01-01T00:00:00Z", "2999-12-31T23:59:59Z", "2026-01-01T00:00:00Z"])
)
def test_the_order_of_telemetry_does_not_depend_on_the_wall_clock(sent_at: str) -> None:
    periods: list[agent.Event] = [period(), period(sent_at=sent_at), period()]
    said = [each.message for each in messages_of(run(talkative(), periods))]
    orders = [each.order for each in said if isinstance(each, Telemetry)]
    assert orders == [(INFO.boot, 0), (INFO.boot, 1), (INFO.boot, 2)]


def test_what_each_level_answered_in_unsaid_periods_is_in_the_next_message() -> None:
    periods: list[agent.Event] = [
        period(elapsed_s=60.0, answered=answered) for answered in (1, 2, 4, 8, 16, 32)
    ]
    said = [each.message for each in messages_of(run(fresh(), periods))]
    counts = [each.models[0].served[0].answered for each in said if isinstance(each, Telemetry)]
    assert counts == [1, 2 + 4 + 8]  # then two minutes of silence, less than the limit
    assert sum(counts) == 15


def test_after_a_connection_the_next_period_is_said_whatever_it_holds() -> None:
    events: list[agent.Event] = [
        period(),
        period(),
        agent.Connected(2),
        period(),
        period(),
    ]
    steps = run(fresh(), events)
    said = [
        any(isinstance(each.message, Telemetry) for each in published(step.effects))
        for step in steps
    ]
    assert said == [True, False, False, True, False]
