"""What the agent says, and when: each message is made here, and numbered here."""

from dataclasses import replace

from secateur_agent.core import descent, quiet, swap
from secateur_agent.core.agent_event import PeriodEnded
from secateur_agent.core.agent_state import AgentState, Effect, Publish, Step
from secateur_agent.core.telemetry import History, add_served, extend, shorten, tell
from secateur_protocols.event import DeviceEvent, EventKind
from secateur_protocols.ids import ModelName
from secateur_protocols.message import Message
from secateur_protocols.ota import Ota, Update, UpdateState
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Refusal, Reported, ReportedModel
from secateur_protocols.telemetry import Telemetry
from secateur_protocols.topics import Leaf

MAX_DETAIL = 256
"""Characters of a reason that travel; the log has it all."""

MAX_REFUSALS_TOLD = 64
"""As many as a reported state may carry."""


def introduce(state: AgentState, session: int) -> Step:
    """Say everything, in the order of rule W2."""
    presence = Presence(state=PresenceState.ONLINE, boot=state.info.boot, session=session)
    births = (Publish(Leaf.PRESENCE, presence), Publish(Leaf.INFO, state.info))
    reported = report(state)
    told = _tell_updates(replace(reported.state, saying=quiet.forget(state.saying)))
    return Step(told.state, (*births, *reported.effects, *told.effects))


def tell_swap(state: AgentState, model: ModelName, tells: list[swap.Tell]) -> Step:
    """Say where an update stands, each step of it in its order."""
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
    if why := " ".join(filter(None, (update.reason, update.detail))):
        text = f"{text}: {why}"
    match update.state:
        case UpdateState.SUCCEEDED:
            return say(state, EventKind.SWITCHED, update.model, text)
        case UpdateState.REJECTED | UpdateState.FAILED | UpdateState.TIMED_OUT:
            return say(state, EventKind.REFUSED, update.model, text)
        case UpdateState.ROLLED_BACK:
            return say(state, EventKind.ROLLED_BACK, update.model, text)
        case _:
            return Step(state)


def end_period(state: AgentState, period: PeriodEnded) -> Step:
    """Remember the period; say it if it is worth the bytes."""
    reports = {report.model: report for report in period.reports}
    histories, unsaid = dict(state.histories), dict(state.unsaid)
    for model, report in reports.items():
        histories[model] = extend(histories.get(model, History()), report)
        unsaid[model] = add_served(unsaid.get(model, ()), report.served)
    seen = quiet.Seen(
        elapsed_s=period.elapsed_s,
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
        silence_s=state.saying.promised_s + period.period_s,
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


def report(state: AgentState) -> Step:
    """Say what runs, with its proof, and what is refused."""
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


def complain(state: AgentState, model: ModelName | None, text: str) -> Step:
    """Say that something broke, unless too much was said of that already."""
    saying = quiet.complain(state.saying, state.profile)
    if saying is None:
        return Step(state)
    return say(replace(state, saying=saying), EventKind.FAULT, model, text)


def say(state: AgentState, kind: EventKind, model: ModelName | None, text: str) -> Step:
    """Say that something happened, in words for people."""
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
