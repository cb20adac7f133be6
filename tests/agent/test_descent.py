"""Stepping down alone: never wider than desired, wider again only as the coordinator says."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core import agent, descent, guard, standby, swap
from secateur_protocols.event import DeviceEvent
from secateur_protocols.ota import ReasonCode
from secateur_protocols.state import Reported
from support import ladders
from support.reports import info

MODELS = ("digits", "words")
INFO = info(*MODELS)
SHORT = guard.Crossing(ReasonCode.SLO_MEMORY, "memory 3% available, limit 5%")

levels = st.integers(0, 2)
crossings = st.sampled_from(
    [
        SHORT,
        guard.Crossing(ReasonCode.SLO_TEMPERATURE, "90 C, limit 85 C"),
        guard.Crossing(ReasonCode.SLO_LATENCY, "12 of 16 later than 10 ms"),
    ]
)
long_ago = dict.fromkeys(MODELS, 1000.0)


def ready(level: int) -> standby.StandbyState:
    artifact = ladders.artifact(level)
    return standby.StandbyState(
        phase=standby.Phase.READY,
        aim=artifact.target,
        artifact=artifact,
        proof=ladders.proof(artifact.digest),
    )


def running(level: int, *, desired: int | None = None) -> agent.AgentState:
    """Give an agent that serves a level and has the next one at hand."""
    state = agent.AgentState(
        info=INFO,
        swaps={model: swap.SwapState(incumbent=ladders.artifact(level)) for model in MODELS},
        standbys={model: ready(level + 1) for model in MODELS},
    )
    if desired is None:
        return state
    return replace(state, desired=ladders.desired(5, desired))


def settle(state: agent.AgentState, model: str = "digits") -> agent.Step:
    """Let the activation and the probation under way succeed."""
    last = agent.Step(state)
    for _ in range(2):
        done = swap.Done(last.state.swaps[model].ticket)
        last = agent.step(last.state, agent.Swap(model, done))
    return last


def activated(step: agent.Step) -> list[swap.Artifact]:
    return [
        effect.effect.artifact
        for effect in step.effects
        if isinstance(effect, agent.ForModel) and isinstance(effect.effect, swap.Activate)
    ]


@given(levels, crossings)
def test_a_crossing_activates_what_stands_by_at_once_and_says_why(
    level: int, crossed: guard.Crossing
) -> None:
    step = agent.step(running(level, desired=level), agent.Crossed("digits", crossed, long_ago))
    assert activated(step) == [ladders.artifact(level + 1)]
    said = [
        each.message.text
        for each in step.effects
        if isinstance(each, agent.Publish) and isinstance(each.message, DeviceEvent)
    ]
    assert any(crossed.detail in text and crossed.reason in text for text in said)


@given(levels, crossings)
def test_it_works_before_any_desired_state_was_heard(
    level: int, crossed: guard.Crossing
) -> None:
    step = agent.step(running(level), agent.Crossed("digits", crossed, long_ago))
    assert activated(step) == [ladders.artifact(level + 1)]


@given(levels, st.integers(0, 3), crossings)
def test_stepping_down_never_makes_a_model_wider_than_desired(
    level: int, desired: int, crossed: guard.Crossing
) -> None:
    step = agent.step(
        running(level, desired=desired), agent.Crossed("digits", crossed, long_ago)
    )
    for artifact in activated(step):
        assert artifact.target.level > level


@given(levels, crossings)
def test_what_was_wanted_before_does_not_bring_it_back(
    level: int, crossed: guard.Crossing
) -> None:
    step = agent.step(running(level, desired=level), agent.Crossed("digits", crossed, long_ago))
    stepped = settle(step.state).state
    assert stepped.swaps["digits"].incumbent == ladders.artifact(level + 1)
    for event in (
        agent.ReconcileDue(),
        agent.DesiredArrived(ladders.desired(5, level)),
        agent.DesiredArrived(ladders.desired(6, level)),
    ):
        stepped = agent.step(stepped, event).state
        assert stepped.swaps["digits"].phase is swap.Phase.IDLE
        assert stepped.swaps["digits"].incumbent == ladders.artifact(level + 1)


@given(crossings)
def test_another_wish_opens_the_lid(crossed: guard.Crossing) -> None:
    step = agent.step(running(0, desired=0), agent.Crossed("digits", crossed, long_ago))
    stepped = settle(step.state).state
    accepted = agent.step(stepped, agent.DesiredArrived(ladders.desired(6, 1))).state
    assert accepted.swaps["digits"].phase is swap.Phase.IDLE
    wider = agent.step(accepted, agent.DesiredArrived(ladders.desired(7, 0))).state
    assert wider.swaps["digits"].wanted == ladders.target(0)


@given(crossings)
def test_a_wish_that_is_narrower_yet_is_still_followed(crossed: guard.Crossing) -> None:
    state = running(0, desired=2)
    wanting = agent.step(state, agent.ReconcileDue()).state
    assert wanting.swaps["digits"].wanted == ladders.target(2)
    step = agent.step(wanting, agent.Crossed("digits", crossed, long_ago))
    following = settle(step.state).state
    assert following.swaps["digits"].wanted == ladders.target(2)


@given(levels, crossings)
def test_the_step_is_reported_with_its_reason_until_another_wish_arrives(
    level: int, crossed: guard.Crossing
) -> None:
    step = agent.step(running(level, desired=level), agent.Crossed("digits", crossed, long_ago))
    committed = settle(step.state)
    told = [
        each.message
        for each in committed.effects
        if isinstance(each, agent.Publish) and isinstance(each.message, Reported)
    ]
    (model,) = (each for each in told[-1].models if each.model == "digits")
    assert (model.level, model.stepped_down) == (level + 1, crossed.reason)
    accepted = agent.step(committed.state, agent.DesiredArrived(ladders.desired(6, level + 1)))
    assert accepted.state.lids == {}


@given(crossings, st.floats(0, 0.9))
def test_one_that_has_just_switched_is_left_alone(
    crossed: guard.Crossing, since_s: float
) -> None:
    state = running(0, desired=0)
    recent = {**long_ago, "digits": since_s}
    assert agent.step(state, agent.Crossed("digits", crossed, recent)) == agent.Step(state)
    assert agent.step(state, agent.Crossed(None, crossed, recent)) == agent.Step(state)


@given(crossings)
def test_without_a_level_at_hand_nothing_is_changed(crossed: guard.Crossing) -> None:
    state = replace(running(0), standbys={})
    assert agent.step(state, agent.Crossed(None, crossed, long_ago)) == agent.Step(state)
    assert agent.step(state, agent.Crossed("digits", crossed, long_ago)) == agent.Step(state)


@given(crossings, levels, levels)
def test_one_model_at_a_time_and_the_one_that_saves_most(
    crossed: guard.Crossing, first: int, second: int
) -> None:
    swaps = {
        "digits": swap.SwapState(incumbent=ladders.artifact(first)),
        "words": swap.SwapState(incumbent=ladders.artifact(second)),
    }
    standbys = {"digits": ready(first + 1), "words": ready(second + 1)}
    chosen = descent.choose(crossed, long_ago, swaps, standbys)
    savings = [
        ladders.manifest(level).macs - ladders.manifest(level + 1).macs
        for level in (first, second)
    ]
    if crossed.reason is not ReasonCode.SLO_MEMORY and savings[0] != savings[1]:
        assert chosen == ("digits" if savings[0] > savings[1] else "words")
    assert chosen in MODELS


@given(levels)
def test_the_next_level_is_aimed_at_once_a_swap_has_ended(level: int) -> None:
    state = agent.AgentState(
        info=INFO,
        swaps={"digits": swap.SwapState(incumbent=ladders.artifact(level))},
        standbys={"digits": standby.StandbyState()},
    )
    aimed = agent.step(state, agent.ReconcileDue()).state
    assert aimed.standbys["digits"].aim == ladders.target(level + 1)
    stepped = replace(aimed, standbys={"digits": ready(level + 1)})
    crossed = agent.step(stepped, agent.Crossed("digits", SHORT, long_ago)).state
    assert settle(crossed).state.standbys["digits"].aim == ladders.target(level + 2)
