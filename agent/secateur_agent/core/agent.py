"""The whole agent's decisions: routes each event to the machine it belongs to.

``step`` owns what spans models: the revision of the desired state, the counters that
order our messages, what is published when, and who steps down alone. Each model's way
from one artifact to the next is `swap`'s, the one that stands by is `standby`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from secateur_agent.core import descent, guard, quiet, standby, swap
from secateur_agent.core.telemetry import (
    History,
    LaneReport,
    WireBytes,
    add_served,
    extend,
    shorten,
    tell,
)
from secateur_protocols.event import DeviceEvent, EventKind
from secateur_protocols.ids import Digest, ModelName
from secateur_protocols.info import Info
from secateur_protocols.message import Message
from secateur_protocols.ota import Ota, Update, UpdateState
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Desired, DesiredModel, Refusal, Reported, ReportedModel
from secateur_protocols.telemetry import Resources, Served, Telemetry
from secateur_protocols.topics import Leaf

MAX_DETAIL = 256
"""Characters of a reason that travel; the log has it all."""

MAX_REFUSALS_TOLD = 64
"""As many as a reported state may carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """All that the agent remembers.

    Attributes:
        info: What the device is; its tasks name the models it runs.
        desired: The newest desired state of this boot. ``None``: none yet.
        swaps: One machine per task, by model.
        standbys: Likewise, for the tasks that keep the next narrower level at hand.
        lids: Models that stepped down alone.
        updates: What was last told of each model's update.
        histories: What each model's earlier periods say.
        unsaid: What each model's levels answered since the last telemetry message.
        profile: How much telemetry is said; ``saying`` remembers what was.
        sequence: Of the next reported, ota or event message.
        telemetry_sequence: Of the next telemetry message.
    """

    info: Info
    desired: Desired | None = None
    swaps: Mapping[ModelName, swap.SwapState]
    standbys: Mapping[ModelName, standby.StandbyState] = field(default_factory=dict)
    lids: Mapping[ModelName, descent.Lid] = field(default_factory=dict)
    updates: Mapping[ModelName, Update] = field(default_factory=dict)
    histories: Mapping[ModelName, History] = field(default_factory=dict)
    unsaid: Mapping[ModelName, tuple[Served, ...]] = field(default_factory=dict)
    profile: quiet.Profile = quiet.NORMAL
    saying: quiet.Quiet = field(default_factory=quiet.Quiet)
    sequence: int = 0
    telemetry_sequence: int = 0


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted the connection with this number, and subscriptions are asked."""

    session: int


@dataclass(frozen=True, slots=True)
class RebirthDue:
    """The coordinator wants everything said again, and the random delay is over."""

    session: int


@dataclass(frozen=True, slots=True)
class DesiredArrived:
    """A desired state, in any order, any number of times."""

    desired: Desired


@dataclass(frozen=True, slots=True)
class Swap:
    """Something happened to one model's swap."""

    model: ModelName
    event: swap.Event


@dataclass(frozen=True, slots=True)
class Standby:
    """Something happened to the level that stands by for one model."""

    model: ModelName
    event: standby.Event


@dataclass(frozen=True, slots=True)
class Crossed:
    """A limit is crossed.

    Attributes:
        model: Whose. ``None``: the whole device's.
        since_switch_s: How long ago each model's serving artifact changed last, seconds.
    """

    model: ModelName | None
    crossing: guard.Crossing
    since_switch_s: Mapping[ModelName, float]


@dataclass(frozen=True, slots=True)
class ReconcileDue:
    """Time to compare what is with what is wanted: a failed update is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodEnded:
    """One telemetry period is over.

    Attributes:
        sent_at: The device's UTC clock, ISO 8601.
        held: Digests of verified artifacts in the store.
    """

    sent_at: str
    period_s: float
    resources: Resources
    reports: tuple[LaneReport, ...]
    held: tuple[Digest, ...]
    wire: WireBytes = field(default_factory=WireBytes)


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """Something broke and was survived."""

    model: ModelName | None
    text: str


Event = (
    Connected
    | RebirthDue
    | DesiredArrived
    | Swap
    | Standby
    | Crossed
    | ReconcileDue
    | PeriodEnded
    | FaultSeen
)


@dataclass(frozen=True, slots=True)
class Publish:
    """Send a message on one of our leaves."""

    leaf: Leaf
    message: Message


@dataclass(frozen=True, slots=True)
class ForModel:
    """Run an effect of one model's swap."""

    model: ModelName
    effect: swap.Effect


@dataclass(frozen=True, slots=True)
class ForStandby:
    """Run an effect of one model's standby."""

    model: ModelName
    effect: standby.Effect


@dataclass(frozen=True, slots=True)
class SetDeadline:
    """Judge one model's answers by another deadline, milliseconds."""

    model: ModelName
    deadline_ms: float


Effect = Publish | ForModel | ForStandby | SetDeadline


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from one event."""

    state: AgentState
    effects: tuple[Effect, ...] = ()


def step(state: AgentState, event: Event) -> Step:  # noqa: PLR0911 - one per event
    """Advance the agent by one event.

    Returns:
        The next state and the effects to run, in this order.
    """
    match event:
        case Connected() | RebirthDue():
            return _introduce(state, event.session)
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
            return _telemetry(state, event)
        case FaultSeen():
            return _say(state, EventKind.FAULT, event.model, event.text)
        case _:
            assert_never(event)


def _introduce(state: AgentState, session: int) -> Step:
    """Say everything, in the order of rule W2."""
    presence = Presence(state=PresenceState.ONLINE, boot=state.info.boot, session=session)
    births = (Publish(Leaf.PRESENCE, presence), Publish(Leaf.INFO, state.info))
    reported = _report(state)
    told = _tell_updates(replace(reported.state, saying=quiet.forget(state.saying)))
    return Step(told.state, (*births, *reported.effects, *told.effects))


def _desired(state: AgentState, desired: Desired) -> Step:
    if state.desired is not None and desired.revision <= state.desired.revision:
        return Step(state)
    following = _reconcile(replace(state, desired=desired))
    reported = _report(following.state)
    deadlines = tuple(
        SetDeadline(wish.model, wish.deadline_ms)
        for wish in desired.models
        if wish.model in state.swaps
    )
    refused = _refuse_strangers(reported.state, desired)
    return Step(
        refused.state,
        (*deadlines, *following.effects, *reported.effects, *refused.effects),
    )


def _refuse_strangers(state: AgentState, desired: Desired) -> Step:
    effects: tuple[Effect, ...] = ()
    for wish in desired.models:
        if wish.model not in state.swaps:
            text = f"no task for model {wish.model} in this device's configuration"
            said = _say(state, EventKind.REFUSED, wish.model, text)
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
    said = _say(lidded, EventKind.SWITCHED, model, text)
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
        told = _tell_swap(state, model, tells)
        state, effects = told.state, (*effects, *told.effects)
    if after.state.incumbent != before.incumbent or after.state.refusals != before.refusals:
        reported = _report(state)
        state, effects = reported.state, (*effects, *reported.effects)
    if after.state.incumbent != before.incumbent:
        # What was wanted before a step down is wanted still if it is narrower yet.
        following = _reconcile(state)
        state, effects = following.state, (*effects, *following.effects)
    return Step(state, effects)


def _tell_swap(state: AgentState, model: ModelName, tells: list[swap.Tell]) -> Step:
    effects: tuple[Effect, ...] = ()
    for tell_ in tells:
        update = Update(
            model=model,
            level=tell_.level,
            digest=tell_.digest,
            state=tell_.state,
            reason=tell_.reason,
            detail=tell_.detail[:MAX_DETAIL],
        )
        state = replace(state, updates={**state.updates, model: update})
        told = _tell_updates(state)
        said = _say_update(told.state, update)
        state, effects = said.state, (*effects, *told.effects, *said.effects)
    return Step(state, effects)


def _say_update(state: AgentState, update: Update) -> Step:
    text = f"level {update.level}"
    if update.reason is not None:
        text = f"{text}: {update.reason} {update.detail}".rstrip()
    match update.state:
        case UpdateState.SUCCEEDED:
            return _say(state, EventKind.SWITCHED, update.model, text)
        case UpdateState.REJECTED | UpdateState.FAILED | UpdateState.TIMED_OUT:
            return _say(state, EventKind.REFUSED, update.model, text)
        case UpdateState.ROLLED_BACK:
            return _say(state, EventKind.ROLLED_BACK, update.model, text)
        case _:
            return Step(state)


def _telemetry(state: AgentState, period: PeriodEnded) -> Step:
    """Remember the period; say it if it is worth the bytes."""
    reports = {report.model: report for report in period.reports}
    histories, unsaid = dict(state.histories), dict(state.unsaid)
    for model, report in reports.items():
        histories[model] = extend(histories.get(model, History()), report)
        unsaid[model] = add_served(unsaid.get(model, ()), report.served)
    seen = quiet.Seen(
        elapsed_s=period.period_s,
        wire_bytes=period.wire.total,
        resources=period.resources,
        reports=reports,
    )
    weighed, why = quiet.weigh(state.saying, seen, state.profile)
    state = replace(state, histories=histories, unsaid=unsaid, saying=weighed)
    return Step(state) if why is None else _say_period(state, period)


def _say_period(state: AgentState, period: PeriodEnded) -> Step:
    telemetry = Telemetry(
        boot=state.info.boot,
        sequence=state.telemetry_sequence,
        sent_at=period.sent_at,
        period_s=period.period_s,
        silence_s=state.profile.silence_s + period.period_s,
        wire_sent_bytes=period.wire.sent,
        wire_received_bytes=period.wire.received,
        resources=shorten(period.resources),
        models=tuple(
            tell(
                report,
                state.histories[report.model],
                served=state.unsaid[report.model],
                prefetched=period.held,
            )
            for report in period.reports
        ),
    )
    following = replace(state, unsaid={}, telemetry_sequence=state.telemetry_sequence + 1)
    return Step(following, (Publish(Leaf.TELEMETRY, telemetry),))


def _report(state: AgentState) -> Step:
    reported = Reported(
        boot=state.info.boot,
        sequence=state.sequence,
        revision=state.desired.revision if state.desired else 0,
        models=tuple(
            _report_model(machine, machine.incumbent, model, state.lids.get(model))
            for model, machine in state.swaps.items()
            if machine.incumbent is not None
        ),
        refusals=tuple(
            Refusal(digest=digest, count=count)
            for machine in state.swaps.values()
            for digest, count in machine.refusals.items()
        )[:MAX_REFUSALS_TOLD],
    )
    return _publish(state, Leaf.REPORTED, reported)


def _report_model(
    machine: swap.SwapState,
    incumbent: swap.Artifact,
    model: ModelName,
    lid: descent.Lid | None,
) -> ReportedModel:
    level = incumbent.target.level
    return ReportedModel(
        model=model,
        version=incumbent.target.ladder.version,
        level=level,
        digest=incumbent.digest,
        proof=machine.proofs.get(incumbent.digest),
        stepped_down=lid.reason if lid is not None and lid.level == level else None,
    )


def _tell_updates(state: AgentState) -> Step:
    ota = Ota(
        boot=state.info.boot, sequence=state.sequence, updates=tuple(state.updates.values())
    )
    return _publish(state, Leaf.OTA, ota)


def _say(state: AgentState, kind: EventKind, model: ModelName | None, text: str) -> Step:
    event = DeviceEvent(
        boot=state.info.boot,
        sequence=state.sequence,
        kind=kind,
        model=model,
        text=text[:MAX_DETAIL],
    )
    return _publish(state, Leaf.EVENT, event)


def _publish(state: AgentState, leaf: Leaf, message: Message) -> Step:
    following = replace(state, sequence=state.sequence + 1)
    return Step(following, (Publish(leaf, message),))
