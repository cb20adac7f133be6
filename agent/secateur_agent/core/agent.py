"""The whole agent's decisions: routes each event to the machine it belongs to.

``step`` owns what spans models: the revision of the desired state, and who steps down
alone. Each model's way from one artifact to the next is `swap`'s, the one that stands by
is `standby`'s, and what is said of it all is `voice`'s.
"""

from dataclasses import replace
from typing import assert_never

from secateur_agent.core import descent, guard, standby, swap, voice
from secateur_agent.core.agent_event import (
    Connected,
    Crossed,
    DesiredArrived,
    Event,
    FaultSeen,
    PeriodEnded,
    RebirthDue,
    ReconcileDue,
    Standby,
    Swap,
)
from secateur_agent.core.agent_state import (
    AgentState,
    Effect,
    ForModel,
    ForStandby,
    Publish,
    SetDeadline,
    Step,
)
from secateur_protocols.event import EventKind
from secateur_protocols.ids import ModelName
from secateur_protocols.state import Desired, DesiredModel

__all__ = [
    "AgentState",
    "Connected",
    "Crossed",
    "DesiredArrived",
    "Effect",
    "Event",
    "FaultSeen",
    "ForModel",
    "ForStandby",
    "PeriodEnded",
    "Publish",
    "RebirthDue",
    "ReconcileDue",
    "SetDeadline",
    "Standby",
    "Step",
    "Swap",
    "step",
]
"""With `step`, the whole core: its callers need no other module for it."""


def step(state: AgentState, event: Event) -> Step:  # noqa: PLR0911 - one per event
    """Advance the agent by one event.

    Returns:
        The next state and the effects to run, in this order.
    """
    match event:
        case Connected() | RebirthDue():
            return voice.introduce(state, event.session)
        case DesiredArrived():
            return _desired(state, event.desired)
        case Swap():
            return _swap(state, event.model, event.event)
        case Standby():
            return _standby(state, event.model, event.event)
        case Crossed():
            return _crossed(state, event)
        case ReconcileDue():
            return _reconcile(state)
        case PeriodEnded():
            return voice.end_period(state, event)
        case FaultSeen():
            return voice.complain(state, event.model, event.text)
        case _:
            assert_never(event)


def _desired(state: AgentState, desired: Desired) -> Step:
    if state.desired is not None and desired.revision <= state.desired.revision:
        return Step(state)
    withdrawn = _withdraw(state, desired)
    following = _reconcile(replace(withdrawn.state, desired=desired))
    reported = voice.report(following.state)
    deadlines = tuple(
        SetDeadline(wish.model, wish.deadline_ms)
        for wish in desired.models
        if wish.model in state.swaps
    )
    refused = _refuse_strangers(reported.state, desired)
    return Step(
        refused.state,
        (
            *withdrawn.effects,
            *deadlines,
            *following.effects,
            *reported.effects,
            *refused.effects,
        ),
    )


def _withdraw(state: AgentState, desired: Desired) -> Step:
    """Stop the updates of models that were wanted until now and are no more.

    One that steps down alone is not stopped: nobody wished for that.
    """
    before = {wish.model for wish in state.desired.models} if state.desired else set()
    gone = before - {wish.model for wish in desired.models} - set(state.lids)
    effects: tuple[Effect, ...] = ()
    for model in sorted(gone & set(state.swaps)):
        stopped = _swap(state, model, swap.Withdraw())
        state, effects = stopped.state, (*effects, *stopped.effects)
    return Step(state, effects)


def _refuse_strangers(state: AgentState, desired: Desired) -> Step:
    effects: tuple[Effect, ...] = ()
    for wish in desired.models:
        if wish.model not in state.swaps:
            text = f"no task for model {wish.model} in this device's configuration"
            said = voice.say(state, EventKind.REFUSED, wish.model, text)
            state, effects = said.state, (*effects, *said.effects)
    return Step(state, effects)


def _reconcile(state: AgentState) -> Step:
    wishes: tuple[DesiredModel, ...] = state.desired.models if state.desired else ()
    effects: tuple[Effect, ...] = ()
    for wish in wishes:
        if wish.model in state.swaps:
            wanted = _want(state, wish)
            state, effects = wanted.state, (*effects, *wanted.effects)
    for model in state.standbys:
        aimed = _aim(state, model)
        state, effects = aimed.state, (*effects, *aimed.effects)
    return Step(state, effects)


def _want(state: AgentState, wish: DesiredModel) -> Step:
    if descent.holds(state.lids.get(wish.model), wish):
        return Step(state)
    lids = {model: lid for model, lid in state.lids.items() if model != wish.model}
    want = swap.Want(swap.Target(wish.ladder, wish.level))
    return _swap(replace(state, lids=lids), wish.model, want)


def _aim(state: AgentState, model: ModelName) -> Step:
    """Let the level below the incumbent stand by, once no swap is under way."""
    machine, stands = state.swaps[model], state.standbys.get(model)
    if stands is None or machine.phase is not swap.Phase.IDLE:
        return Step(state)
    aim = None
    if machine.incumbent is not None:
        aim = replace(machine.incumbent.target, level=machine.incumbent.target.level + 1)
    return _standby(state, model, standby.Aim(aim))


def _standby(state: AgentState, model: ModelName, event: standby.Event) -> Step:
    after = standby.step(state.standbys[model], event)
    effects = tuple(ForStandby(model, effect) for effect in after.effects)
    return Step(replace(state, standbys={**state.standbys, model: after.state}), effects)


def _crossed(state: AgentState, event: Crossed) -> Step:
    model = event.model
    if model is None:
        model = descent.choose(
            event.crossing, event.since_switch_s, state.swaps, state.standbys
        )
    elif not guard.is_due(event.crossing, event.since_switch_s.get(model, 0.0)):
        return Step(state)
    stands = state.standbys.get(model) if model is not None else None
    if model is None or stands is None or stands.phase is not standby.Phase.READY:
        return Step(state)
    if stands.artifact is None or stands.proof is None:
        return Step(state)
    crossing = event.crossing
    return _step_down(
        state,
        model,
        swap.StepDown(stands.artifact, stands.proof, crossing.reason, crossing.detail),
    )


def _step_down(state: AgentState, model: ModelName, event: swap.StepDown) -> Step:
    """Go to the level that stands by, and put a lid on it (rule 7 of `swap`)."""
    stepped = _swap(state, model, event)
    if stepped.state.swaps[model].candidate != event.artifact:
        return Step(state)
    target = event.artifact.target
    wishes = state.desired.models if state.desired else ()
    wish = next((each for each in wishes if each.model == model), None)
    wished = swap.Target(wish.ladder, wish.level) if wish else target
    lid = descent.Lid(wished, target.level, event.reason)
    lidded = replace(stepped.state, lids={**stepped.state.lids, model: lid})
    text = f"level {target.level} alone: {event.reason}: {event.detail}"
    said = voice.say(lidded, EventKind.SWITCHED, model, text)
    return Step(said.state, (*stepped.effects, *said.effects))


def _swap(state: AgentState, model: ModelName, event: swap.Event) -> Step:
    before = state.swaps[model]
    after = swap.step(before, event)
    state = replace(state, swaps={**state.swaps, model: after.state})
    effects: tuple[Effect, ...] = tuple(
        ForModel(model, effect) for effect in after.effects if not isinstance(effect, swap.Tell)
    )
    tells = [effect for effect in after.effects if isinstance(effect, swap.Tell)]
    if tells:
        told = voice.tell_swap(state, model, tells)
        state, effects = told.state, (*effects, *told.effects)
    if after.state.incumbent != before.incumbent or after.state.refusals != before.refusals:
        reported = voice.report(state)
        state, effects = reported.state, (*effects, *reported.effects)
    if after.state.incumbent != before.incumbent:
        # What was wanted before a step down is wanted still if it is narrower yet.
        following = _reconcile(state)
        state, effects = following.state, (*effects, *following.effects)
    return Step(state, effects)
