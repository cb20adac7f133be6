"""The hot swap: how one model on a device moves to another level, and back.

``step`` takes the state and one event and returns the next state and the effects to
run. It decides; the driver does. Time arrives as an event (`TimedOut`), chance as a
field of `Failed`, and the same events always give the same effects.

    IDLE --Want--> RESOLVING --> FETCHING --> VERIFYING --> PROBING --> ACTIVATING --> PROBATION
     ^                |              |            |  (proven) |______________^             |
     |                |              |            |            |            |              |
     |<-- Failed, TimedOut: discard -+------------+------------+            |              |
     |<-- Failed, TimedOut: back to the incumbent, discard -----------------+--------------|
     |<-- Done: commit --------------------------------------------------------------------|

    any phase --Want of another: supersede--> RESOLVING; --Withdraw: cancel--> IDLE
    any phase --StepDown: supersede--> ACTIVATING, with an artifact that is proven and loaded

Rule 1: everything that affects a transition lives in this file.
Rule 2: the incumbent stays loaded until the candidate is committed, and what serves is
never taken away before another can serve, unless it failed itself.
Rule 3: every effect that answers carries a ticket, and its answer carries it back. An
answer with any ticket but the latest is late: it changes nothing and is no error.
Rule 4: an artifact that failed here by its own fault is refused; after `MAX_REFUSALS` it
is not tried again. The failure is counted on disk before the artifact runs and forgiven
when it did well, so that one that takes the whole device down is counted too.
Rule 5: a newer wish supersedes; it never queues behind.
Rule 6: what was probed since the agent started is not probed again.
Rule 7: stepping down alone goes to a narrower level of the incumbent's own ladder, and
waits for nothing but the reference to be replaced.
Rule 8: a committed artifact that hangs is counted likewise, and after `MAX_REFUSALS` within
`STEADY_S` each, the one before it serves.
Rule 9: what failed on its way in and would fail again (there is no such file, say) is not
asked for again at once: the first `Want` after it is passed over, then three, seven, at
most `MAX_SKIPS`; another target begins anew. Expired metadata are no such failure: somebody
signs them again, and the device is to notice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar, assert_never

from secateur_agent.core.artifact import Artifact, Target
from secateur_agent.core.backoff import backoff_s
from secateur_agent.core.swap_effect import (
    Activate,
    Asks,
    Commit,
    Discard,
    Effect,
    Fetch,
    Probe,
    Refuse,
    Resolve,
    RollBack,
    Serve,
    Tell,
    Verify,
    Watch,
)
from secateur_agent.core.swap_event import (
    Answer,
    Broken,
    Done,
    Event,
    Failed,
    Hung,
    Proven,
    Resolved,
    StepDown,
    TimedOut,
    Want,
    Withdraw,
)
from secateur_protocols.ids import Digest
from secateur_protocols.ota import ReasonCode, UpdateState
from secateur_protocols.state import ProofOfRun

__all__ = [
    "Activate",
    "Answer",
    "Artifact",
    "Asks",
    "Broken",
    "Commit",
    "Discard",
    "Done",
    "Effect",
    "Event",
    "Failed",
    "Fetch",
    "Hung",
    "Probe",
    "Proven",
    "Refuse",
    "Resolve",
    "Resolved",
    "RollBack",
    "Serve",
    "StepDown",
    "Target",
    "Tell",
    "TimedOut",
    "Verify",
    "Want",
    "Watch",
    "Withdraw",
]
"""With what this module defines, the whole machine: its callers need no other."""

V = TypeVar("V")

MAX_REFUSALS = 3
"""Failures of one artifact before it is left alone: one may be the device's bad moment,
three are the artifact's own fault."""

STEADY_S = 3600.0
"""What has served for so long is good here: if it hangs then, it is counted afresh, seconds."""

MAX_REMEMBERED = 16
"""Refused, and likewise proven, digests kept in mind per model; the oldest go first."""

MAX_ATTEMPTS = 8
"""Fetches of one candidate before the update fails; with full jitter some two minutes.
The wish stays, and the next `Want` starts again."""


MAX_SKIPS = 31
"""Wishes passed over at most (rule 9): half an hour, as one comes each minute."""


class Phase(StrEnum):
    """Where the swap stands."""

    IDLE = "idle"
    RESOLVING = "resolving"
    FETCHING = "fetching"
    VERIFYING = "verifying"
    PROBING = "probing"
    ACTIVATING = "activating"
    PROBATION = "probation"


TIMEOUT_S: Mapping[Phase, float] = {
    Phase.RESOLVING: 60.0,
    Phase.FETCHING: 3600.0,  # 100 MB over 30 kB/s
    Phase.VERIFYING: 60.0,
    Phase.PROBING: 120.0,
    Phase.ACTIVATING: 60.0,
    Phase.PROBATION: 120.0,
}
"""How long each phase may take, seconds. Every phase but IDLE has one."""

TOLD: Mapping[Phase, UpdateState] = {
    Phase.RESOLVING: UpdateState.ACCEPTED,
    Phase.FETCHING: UpdateState.DOWNLOADING,
    Phase.VERIFYING: UpdateState.DOWNLOADED,
    Phase.PROBING: UpdateState.VERIFIED,
    Phase.ACTIVATING: UpdateState.ACTIVATING,
    Phase.PROBATION: UpdateState.PROBATION,
}
"""What the fleet is told when a phase begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapState:
    """All that the swap of one model remembers.

    Attributes:
        phase: Where the swap stands.
        incumbent: The committed artifact; the one to fall back to. ``None``: none yet.
        wanted: The target on its way in. ``None`` exactly when ``IDLE``.
        candidate: ``wanted``, resolved. ``None`` up to and including ``RESOLVING``.
        ticket: Grows by one with every effect that answers, as long as the agent runs.
        attempts: Failed fetches of this candidate.
        rejected: The last target that was refused too often to be tried again.
        deferred: The last target that failed on its way in for good; ``setbacks`` counts how
            often, ``skips`` the wishes for it that are still to be passed over (rule 9).
        refusals: How often each digest failed by its own fault; kept on disk.
        proofs: What was probed since the agent started, and the proof it gave.
    """

    phase: Phase = Phase.IDLE
    incumbent: Artifact | None = None
    wanted: Target | None = None
    candidate: Artifact | None = None
    ticket: int = 0
    attempts: int = 0
    rejected: Target | None = None
    deferred: Target | None = None
    setbacks: int = 0
    skips: int = 0
    refusals: Mapping[Digest, int] = field(default_factory=dict)
    proofs: Mapping[Digest, ProofOfRun] = field(default_factory=dict)


_ASKS: Mapping[Phase, type[Verify | Probe | Activate | Watch]] = {
    Phase.VERIFYING: Verify,
    Phase.PROBING: Probe,
    Phase.ACTIVATING: Activate,
    Phase.PROBATION: Watch,
}

_OWN_FAULT = frozenset({Phase.PROBING, Phase.ACTIVATING, Phase.PROBATION})
"""Phases in which the artifact runs, so that a failure is its own."""


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from one event."""

    state: SwapState
    effects: tuple[Effect, ...] = ()


def step(state: SwapState, event: Event) -> Step:
    """Advance the swap of one model by one event.

    Args:
        state: What it remembers.
        event: What happened. An answer whose ticket is not the latest changes nothing.

    Returns:
        The next state and the effects to run, in this order.
    """
    match event:
        case Want():
            return _want(state, event.target)
        case Withdraw():
            return _withdraw(state)
        case StepDown():
            return _step_down(state, event)
        case Broken():
            return _broken(state, event)
        case Hung():
            return _hung(state, event)
        case _:
            return _answer(state, event)


def _answer(state: SwapState, event: Answer) -> Step:
    if state.phase is Phase.IDLE or event.ticket != state.ticket:
        return Step(state)
    match event:
        case Resolved():
            return _resolved(state, event.artifact)
        case Proven():
            return _proven(state, event)
        case Done():
            return _done(state, event.detail)
        case Failed():
            return _failed(state, event)
        case TimedOut():
            return _abandon(state, UpdateState.TIMED_OUT, ReasonCode.TIMEOUT, state.phase)
        case _:
            assert_never(event)


def _want(state: SwapState, target: Target) -> Step:
    if state.wanted is not None:
        if state.wanted == target:
            return Step(state)
        gone = _supersede(state)
        following = _want(gone.state, target)
        return Step(following.state, (*gone.effects, *following.effects))
    serves = state.incumbent is not None and state.incumbent.target == target
    if serves or state.rejected == target:
        return Step(state)
    if state.deferred == target and state.skips > 0:
        return Step(replace(state, skips=state.skips - 1))
    if state.deferred != target:
        state = replace(state, deferred=None, setbacks=0)
    wanting = replace(state, wanted=target, candidate=None, attempts=0, rejected=None)
    return _enter(wanting, Phase.RESOLVING)


def _withdraw(state: SwapState) -> Step:
    if state.wanted is None:
        return Step(state)
    gone = _leave(state, failed=False, is_followed=False)
    told = _tell(state, UpdateState.CANCELED, ReasonCode.OPERATOR)
    return Step(gone.state, (*gone.effects, told))


def _supersede(state: SwapState) -> Step:
    if state.wanted is None:
        return Step(state)
    gone = _leave(state, failed=False)
    told = _tell(state, UpdateState.SUPERSEDED, ReasonCode.SUPERSEDED)
    return Step(gone.state, (*gone.effects, told))


def _step_down(state: SwapState, event: StepDown) -> Step:
    before, target = state.incumbent, event.artifact.target
    under_way = state.phase in {Phase.ACTIVATING, Phase.PROBATION} and state.candidate
    if before is None or target.ladder != before.target.ladder:
        return Step(state)
    if target.level <= before.target.level or (
        under_way and under_way.target.level >= target.level
    ):
        return Step(state)
    gone = _supersede(state)
    proofs = _newest({**state.proofs, event.artifact.digest: event.proof})
    stepping = replace(
        gone.state, wanted=target, candidate=event.artifact, proofs=proofs, rejected=None
    )
    entered = _enter(stepping, Phase.ACTIVATING, reason=event.reason, detail=event.detail)
    return Step(entered.state, (*gone.effects, *entered.effects))


def _broken(state: SwapState, event: Broken) -> Step:
    """Serve what is whole; a swap under way goes on, and the next wish mends the rest."""
    following = replace(state, incumbent=event.substitute)
    candidate_serves = state.phase in {Phase.ACTIVATING, Phase.PROBATION}
    if event.substitute is None or candidate_serves:
        return Step(following)
    return Step(following, (Serve(event.substitute),))


def _hung(state: SwapState, event: Hung) -> Step:
    """Count it (rule 8). What is incumbent then is loaded by the process that comes next."""
    if state.incumbent is None:
        return Step(state)
    digest = state.incumbent.digest
    earlier = 0 if event.served_s >= STEADY_S else state.refusals.get(digest, 0)
    counted = replace(state, refusals=_newest({**state.refusals, digest: earlier + 1}))
    refuse = Refuse(digest, earlier + 1)
    if earlier + 1 < MAX_REFUSALS or event.previous is None:
        return Step(counted, (refuse,))
    return Step(replace(counted, incumbent=event.previous), (refuse,))


def _resolved(state: SwapState, artifact: Artifact) -> Step:
    if state.phase is not Phase.RESOLVING:
        return Step(state)
    known = replace(state, candidate=artifact)
    refused = state.refusals.get(artifact.digest, 0)
    if refused >= MAX_REFUSALS:
        told = _tell(
            known,
            UpdateState.REJECTED,
            ReasonCode.LOAD_FAILED,
            f"failed here {refused} times",
        )
        return Step(replace(_idle(known), rejected=state.wanted), (told,))
    return _enter(known, Phase.FETCHING)


def _proven(state: SwapState, event: Proven) -> Step:
    if state.phase is not Phase.PROBING or state.candidate is None:
        return Step(state)
    proofs = _newest({**state.proofs, state.candidate.digest: event.proof})
    return _enter(replace(state, proofs=proofs), Phase.ACTIVATING, detail=event.detail)


def _done(state: SwapState, detail: str) -> Step:
    if state.candidate is None:
        return Step(state)
    match state.phase:
        case Phase.FETCHING:
            return _enter(state, Phase.VERIFYING)
        case Phase.VERIFYING:
            proven = state.candidate.digest in state.proofs
            return _enter(state, Phase.ACTIVATING if proven else Phase.PROBING)
        case Phase.ACTIVATING:
            return _enter(state, Phase.PROBATION)
        case Phase.PROBATION:
            return _commit(state, state.candidate, detail)
        case Phase.IDLE | Phase.RESOLVING | Phase.PROBING:
            return Step(state)
        case _:
            assert_never(state.phase)


def _commit(state: SwapState, artifact: Artifact, detail: str) -> Step:
    told = _tell(state, UpdateState.SUCCEEDED, detail=detail)
    refusals = {d: n for d, n in state.refusals.items() if d != artifact.digest}
    committed = replace(_idle(state), incumbent=artifact, refusals=refusals)
    return Step(committed, (Commit(artifact), told))


def _failed(state: SwapState, failure: Failed) -> Step:
    in_transit = state.phase in {Phase.RESOLVING, Phase.FETCHING, Phase.VERIFYING}
    if in_transit and not failure.permanent:
        attempts = state.attempts + 1
        if attempts < MAX_ATTEMPTS:
            again = Phase.RESOLVING if state.candidate is None else Phase.FETCHING
            delay_s = max(backoff_s(attempts, chance=failure.chance), failure.retry_after_s)
            return _enter(replace(state, attempts=attempts), again, delay_s)
    if in_transit and failure.permanent and failure.reason is not ReasonCode.METADATA_EXPIRED:
        state = _defer(state)
    return _abandon(state, _end_of(state.phase), failure.reason, failure.detail)


def _defer(state: SwapState) -> SwapState:
    setbacks = state.setbacks + 1
    skips = min(MAX_SKIPS, (1 << min(setbacks, MAX_SKIPS)) - 1)
    return replace(state, deferred=state.wanted, setbacks=setbacks, skips=skips)


def _end_of(phase: Phase) -> UpdateState:
    served = phase in {Phase.ACTIVATING, Phase.PROBATION}
    return UpdateState.ROLLED_BACK if served else UpdateState.FAILED


def _abandon(state: SwapState, end: UpdateState, reason: ReasonCode, detail: str) -> Step:
    told = _tell(state, end, reason, detail)
    gone = _leave(_refuse(state), failed=True)
    return Step(gone.state, (*gone.effects, told))


def _refuse(state: SwapState) -> SwapState:
    """Count a failure against the artifact if the phase shows that it is its own."""
    if state.candidate is None or state.phase not in _OWN_FAULT:
        return state
    digest = state.candidate.digest
    count = state.refusals.get(digest, 0) + 1
    refusals = _newest({**state.refusals, digest: count})
    proofs = {known: proof for known, proof in state.proofs.items() if known != digest}
    # On disk the count stands since the artifact began to run (rule 4).
    return replace(state, refusals=refusals, proofs=proofs)


def _newest(known: Mapping[Digest, V]) -> Mapping[Digest, V]:
    return dict(list(known.items())[-MAX_REMEMBERED:])


def _leave(state: SwapState, *, failed: bool, is_followed: bool = True) -> Step:
    """Give up the candidate; what serves goes on serving (rule 2).

    Args:
        state: Of a swap under way.
        failed: Whether it was the candidate's fault.
        is_followed: Whether another wish takes its place.
    """
    effects: list[Effect] = []
    serves = state.phase in {Phase.ACTIVATING, Phase.PROBATION}
    # A first candidate that is superseded goes on answering until the next one does.
    kept = serves and not failed and is_followed and state.incumbent is None
    if serves and not kept:
        effects.append(RollBack(state.incumbent))
    if not kept:
        effects.append(Discard())
    if state.candidate is not None and state.phase in _OWN_FAULT and not failed:
        digest = state.candidate.digest
        effects.append(Refuse(digest, state.refusals.get(digest, 0)))
    return Step(_idle(state), tuple(effects))


def _idle(state: SwapState) -> SwapState:
    # The ticket grows so that answers still on their way are late (rule 3).
    return replace(
        state,
        phase=Phase.IDLE,
        wanted=None,
        candidate=None,
        attempts=0,
        ticket=state.ticket + 1,
    )


def _enter(
    state: SwapState,
    phase: Phase,
    delay_s: float = 0.0,
    *,
    reason: ReasonCode | None = None,
    detail: str = "",
) -> Step:
    entered = replace(state, phase=phase, ticket=state.ticket + 1)
    told = _tell(entered, TOLD[phase], reason, detail)
    return Step(entered, (*_suspect(state, entered), _ask(entered, delay_s), told))


def _suspect(before: SwapState, entered: SwapState) -> tuple[Refuse, ...]:
    """Count a failure before the artifact runs for the first time (rule 4)."""
    begins = before.phase not in _OWN_FAULT and entered.phase in _OWN_FAULT
    if entered.candidate is None or not begins:
        return ()
    digest = entered.candidate.digest
    return (Refuse(digest, entered.refusals.get(digest, 0) + 1),)


def _ask(state: SwapState, delay_s: float) -> Asks:
    if state.phase is Phase.RESOLVING and state.wanted is not None:
        return Resolve(state.ticket, state.wanted, delay_s)
    if state.candidate is None:
        msg = f"nothing to do in {state.phase} without a candidate"
        raise ValueError(msg)
    if state.phase is Phase.FETCHING:
        return Fetch(state.ticket, state.candidate, delay_s)
    return _ASKS[state.phase](state.ticket, state.candidate)


def _tell(
    state: SwapState, told: UpdateState, reason: ReasonCode | None = None, detail: str = ""
) -> Tell:
    level = state.wanted.level if state.wanted is not None else 0
    digest = state.candidate.digest if state.candidate is not None else None
    return Tell(told, level, digest, reason, detail)
