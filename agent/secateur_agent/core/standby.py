"""The standby: the next narrower level, brought in and proven before anybody needs it.

``step`` runs beside the swap of the same model, with the same effects for the same deeds,
so that stepping down waits for no network, no disk and no engine:

    IDLE --Aim--> RESOLVING --> FETCHING --> VERIFYING --> PROBING --> PREPARING --> READY
     ^               |              |            |            |            |           |
     |<-- Failed, TimedOut: given up until aimed again -------+------------+           |
     |<-- Aim elsewhere: release --------------------------------------------------- --|

Rule 1: one artifact at a time, and none that was not verified and proven here is READY.
Rule 2: an answer with any ticket but the latest is late: it changes nothing.
Rule 3: what failed for good, and what the ladder does not have, is not aimed at again
until the aim moves; what may pass is tried again when the aim is renewed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from secateur_agent.core.artifact import Artifact, Target
from secateur_agent.core.swap_effect import Fetch, Probe, Resolve, Verify
from secateur_agent.core.swap_event import (
    Answer,
    Done,
    Failed,
    Proven,
    Resolved,
    TimedOut,
)
from secateur_protocols.state import ProofOfRun


class Phase(StrEnum):
    """Where the standby stands."""

    IDLE = "idle"
    RESOLVING = "resolving"
    FETCHING = "fetching"
    VERIFYING = "verifying"
    PROBING = "probing"
    PREPARING = "preparing"
    READY = "ready"


TIMEOUT_S: Mapping[Phase, float] = {
    Phase.RESOLVING: 60.0,
    Phase.FETCHING: 3600.0,
    Phase.VERIFYING: 60.0,
    Phase.PROBING: 120.0,
    Phase.PREPARING: 60.0,
}
"""How long each phase may take, seconds; as long as the swap's own."""


@dataclass(frozen=True, slots=True)
class StandbyState:
    """All that the standby of one model remembers.

    Attributes:
        aim: What is to stand by. ``None``: nothing.
        artifact: ``aim``, resolved.
        proof: That it ran here; set from ``PREPARING`` on.
        is_hopeless: The aim failed for good (rule 3).
        ticket: Grows by one with every effect that answers.
    """

    phase: Phase = Phase.IDLE
    aim: Target | None = None
    artifact: Artifact | None = None
    proof: ProofOfRun | None = None
    is_hopeless: bool = False
    ticket: int = 0


@dataclass(frozen=True, slots=True)
class Aim:
    """This is the next narrower level now. ``None``: nothing is to stand by."""

    target: Target | None


Event = Aim | Answer


@dataclass(frozen=True, slots=True)
class Prepare:
    """Load it and warm it up beside what serves, without letting it answer."""

    ticket: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Release:
    """Let go of what is loaded and does not serve."""


Asks = Resolve | Fetch | Verify | Probe | Prepare
"""Effects that answer, with their ticket, or are timed out."""

Effect = Asks | Release


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from one event."""

    state: StandbyState
    effects: tuple[Effect, ...] = ()


def step(state: StandbyState, event: Event) -> Step:  # noqa: PLR0911 - one per event
    """Advance the standby of one model by one event."""
    if isinstance(event, Aim):
        return _aim(state, event.target)
    if state.phase in {Phase.IDLE, Phase.READY} or event.ticket != state.ticket:
        return Step(state)
    match event:
        case Resolved():
            return _enter(replace(state, artifact=event.artifact), Phase.FETCHING)
        case Proven():
            return _enter(replace(state, proof=event.proof), Phase.PREPARING)
        case Done():
            return _done(state)
        case Failed():
            return _give_up(state, is_hopeless=event.permanent)
        case TimedOut():
            return _give_up(state, is_hopeless=False)
        case _:
            assert_never(event)


def _aim(state: StandbyState, target: Target | None) -> Step:
    is_settled = target is None or state.phase is not Phase.IDLE or state.is_hopeless
    if state.aim == target and is_settled:
        return Step(state)
    release = (Release(),) if state.phase in {Phase.PREPARING, Phase.READY} else ()
    # The ticket grows so that answers still on their way are late.
    aimed = StandbyState(aim=target, ticket=state.ticket + 1)
    if target is None:
        return Step(aimed, release)
    following = _enter(aimed, Phase.RESOLVING)
    return Step(following.state, (*release, *following.effects))


def _done(state: StandbyState) -> Step:
    match state.phase:
        case Phase.FETCHING:
            return _enter(state, Phase.VERIFYING)
        case Phase.VERIFYING:
            return _enter(state, Phase.PROBING)
        case Phase.PREPARING:
            return Step(replace(state, phase=Phase.READY))
        case Phase.IDLE | Phase.RESOLVING | Phase.PROBING | Phase.READY:
            return Step(state)
        case _:
            assert_never(state.phase)


def _give_up(state: StandbyState, *, is_hopeless: bool) -> Step:
    release = (Release(),) if state.phase is Phase.PREPARING else ()
    given_up = StandbyState(aim=state.aim, is_hopeless=is_hopeless, ticket=state.ticket + 1)
    return Step(given_up, release)


def _enter(state: StandbyState, phase: Phase) -> Step:
    entered = replace(state, phase=phase, ticket=state.ticket + 1)
    return Step(entered, (_ask(entered),))


def _ask(state: StandbyState) -> Asks:
    if state.phase is Phase.RESOLVING and state.aim is not None:
        return Resolve(state.ticket, state.aim)
    if state.artifact is None:
        msg = f"nothing to do in {state.phase} without an artifact"
        raise ValueError(msg)
    asks: Mapping[Phase, type[Fetch | Verify | Probe | Prepare]] = {
        Phase.FETCHING: Fetch,
        Phase.VERIFYING: Verify,
        Phase.PROBING: Probe,
        Phase.PREPARING: Prepare,
    }
    return asks[state.phase](state.ticket, state.artifact)
