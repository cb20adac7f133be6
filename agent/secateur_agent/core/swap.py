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

Rule 1: everything that affects a transition lives in this file.
Rule 2: the incumbent stays loaded until the candidate is committed, and what serves is
never taken away before another can serve, unless it failed itself.
Rule 3: every effect that answers carries a ticket, and its answer carries it back. An
answer with any ticket but the latest is late: it changes nothing and is no error.
Rule 4: an artifact that failed here by its own fault is refused; after `MAX_REFUSALS` it
is not tried again.
Rule 5: a newer wish supersedes; it never queues behind.
Rule 6: what was probed since the agent started is not probed again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar, assert_never

from secateur_agent.core.backoff import backoff_s
from secateur_protocols.ids import Digest
from secateur_protocols.manifest import Manifest
from secateur_protocols.ota import ReasonCode, UpdateState
from secateur_protocols.state import LadderRef, ProofOfRun

V = TypeVar("V")

MAX_REFUSALS = 3
"""Failures of one artifact before it is left alone: one may be the device's bad moment,
three are the artifact's own fault."""

MAX_REMEMBERED = 16
"""Refused, and likewise proven, digests kept in mind per model; the oldest go first."""

MAX_ATTEMPTS = 8
"""Fetches of one candidate before the update fails; with full jitter some two minutes.
The wish stays, and the next `Want` starts again."""


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


@dataclass(frozen=True, slots=True)
class Target:
    """What the coordinator wants: one level of one ladder."""

    ladder: LadderRef
    level: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A target, resolved: what exactly is to run."""

    target: Target
    manifest: Manifest

    @property
    def digest(self) -> Digest:
        """Of the artifact's bytes."""
        return self.manifest.digest


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
    refusals: Mapping[Digest, int] = field(default_factory=dict)
    proofs: Mapping[Digest, ProofOfRun] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Want:
    """The coordinator, or the reconciliation of a period, names the target."""

    target: Target


@dataclass(frozen=True, slots=True)
class Done:
    """An effect succeeded."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """The ladder was read."""

    ticket: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Proven:
    """The probe ran the candidate and its golden outputs were right."""

    ticket: int
    proof: ProofOfRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An effect failed.

    Attributes:
        permanent: Trying again gives the same.
        chance: In [0, 1), drawn by the driver; sets the jitter of a retry.
    """

    ticket: int
    reason: ReasonCode
    detail: str = ""
    permanent: bool = False
    chance: float = 0.5


@dataclass(frozen=True, slots=True)
class TimedOut:
    """An effect did not answer within its time."""

    ticket: int


Event = Want | Done | Resolved | Proven | Failed | TimedOut


@dataclass(frozen=True, slots=True)
class Resolve:
    """Read the ladder and find the artifact of the target's level."""

    ticket: int
    target: Target
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring the artifact and its golden inputs into the store."""

    ticket: int
    artifact: Artifact
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Verify:
    """Hash what is in the store."""

    ticket: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Probe:
    """Run the golden inputs in a process of its own."""

    ticket: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Activate:
    """Load and warm it beside the incumbent, then let it answer."""

    ticket: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Watch:
    """Judge it by its first inferences."""

    ticket: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Commit:
    """Make it the one that serves after a restart; let go of the one before."""

    artifact: Artifact


@dataclass(frozen=True, slots=True)
class RollBack:
    """Let the incumbent answer again. ``None``: nothing answers until the next swap."""

    incumbent: Artifact | None


@dataclass(frozen=True, slots=True)
class Discard:
    """Let go of what the store holds for this candidate and nobody else."""

    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Refuse:
    """Remember on disk that this artifact failed by its own fault."""

    digest: Digest
    count: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Say where the update stands."""

    state: UpdateState
    level: int
    digest: Digest | None
    reason: ReasonCode | None = None
    detail: str = ""


Asks = Resolve | Fetch | Verify | Probe | Activate | Watch
"""Effects that answer, with their ticket, or are timed out."""

_ASKS: Mapping[Phase, type[Verify | Probe | Activate | Watch]] = {
    Phase.VERIFYING: Verify,
    Phase.PROBING: Probe,
    Phase.ACTIVATING: Activate,
    Phase.PROBATION: Watch,
}

Effect = Asks | Commit | RollBack | Discard | Refuse | Tell


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
    if isinstance(event, Want):
        return _want(state, event.target)
    if state.phase is Phase.IDLE or event.ticket != state.ticket:
        return Step(state)
    return _answer(state, event)


def _answer(state: SwapState, event: Resolved | Proven | Done | Failed | TimedOut) -> Step:
    match event:
        case Resolved():
            return _resolved(state, event.artifact)
        case Proven():
            return _proven(state, event.proof)
        case Done():
            return _done(state)
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
        gone = _leave(state, failed=False)
        told = _tell(state, UpdateState.SUPERSEDED, ReasonCode.SUPERSEDED)
        following = _want(gone.state, target)
        return Step(following.state, (*gone.effects, told, *following.effects))
    serves = state.incumbent is not None and state.incumbent.target == target
    if serves or state.rejected == target:
        return Step(state)
    wanting = replace(state, wanted=target, candidate=None, attempts=0, rejected=None)
    return _enter(wanting, Phase.RESOLVING)


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


def _proven(state: SwapState, proof: ProofOfRun) -> Step:
    if state.phase is not Phase.PROBING or state.candidate is None:
        return Step(state)
    proofs = _newest({**state.proofs, state.candidate.digest: proof})
    return _enter(replace(state, proofs=proofs), Phase.ACTIVATING)


def _done(state: SwapState) -> Step:
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
            return _commit(state, state.candidate)
        case Phase.IDLE | Phase.RESOLVING | Phase.PROBING:
            return Step(state)
        case _:
            assert_never(state.phase)


def _commit(state: SwapState, artifact: Artifact) -> Step:
    told = _tell(state, UpdateState.SUCCEEDED)
    refusals = {d: n for d, n in state.refusals.items() if d != artifact.digest}
    pardon = (Refuse(artifact.digest, 0),) if artifact.digest in state.refusals else ()
    committed = replace(_idle(state), incumbent=artifact, refusals=refusals)
    return Step(committed, (Commit(artifact), *pardon, told))


def _failed(state: SwapState, failure: Failed) -> Step:
    in_transit = state.phase in {Phase.RESOLVING, Phase.FETCHING, Phase.VERIFYING}
    if in_transit and not failure.permanent:
        attempts = state.attempts + 1
        if attempts < MAX_ATTEMPTS:
            again = Phase.RESOLVING if state.candidate is None else Phase.FETCHING
            delay_s = backoff_s(attempts, chance=failure.chance)
            return _enter(replace(state, attempts=attempts), again, delay_s)
    return _abandon(state, _end_of(state.phase), failure.reason, failure.detail)


def _end_of(phase: Phase) -> UpdateState:
    served = phase in {Phase.ACTIVATING, Phase.PROBATION}
    return UpdateState.ROLLED_BACK if served else UpdateState.FAILED


def _abandon(state: SwapState, end: UpdateState, reason: ReasonCode, detail: str) -> Step:
    told = _tell(state, end, reason, detail)
    refused = _refuse(state)
    gone = _leave(refused.state, failed=True)
    return Step(gone.state, (*refused.effects, *gone.effects, told))


def _refuse(state: SwapState) -> Step:
    """Count a failure against the artifact if the phase shows that it is its own."""
    own_fault = state.phase in {Phase.PROBING, Phase.ACTIVATING, Phase.PROBATION}
    if state.candidate is None or not own_fault:
        return Step(state)
    digest = state.candidate.digest
    count = state.refusals.get(digest, 0) + 1
    refusals = _newest({**state.refusals, digest: count})
    proofs = {known: proof for known, proof in state.proofs.items() if known != digest}
    return Step(replace(state, refusals=refusals, proofs=proofs), (Refuse(digest, count),))


def _newest(known: Mapping[Digest, V]) -> Mapping[Digest, V]:
    return dict(list(known.items())[-MAX_REMEMBERED:])


def _leave(state: SwapState, *, failed: bool) -> Step:
    """Give up the candidate; what serves goes on serving (rule 2)."""
    effects: list[Effect] = []
    serves = state.phase in {Phase.ACTIVATING, Phase.PROBATION}
    if serves and (failed or state.incumbent is not None):
        effects.append(RollBack(state.incumbent))
    # A first candidate that is superseded goes on answering until the next one does.
    kept = serves and not failed and state.incumbent is None
    if state.candidate is not None and not kept:
        effects.append(Discard(state.candidate))
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


def _enter(state: SwapState, phase: Phase, delay_s: float = 0.0) -> Step:
    entered = replace(state, phase=phase, ticket=state.ticket + 1)
    return Step(entered, (_ask(entered, delay_s), _tell(entered, TOLD[phase])))


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
