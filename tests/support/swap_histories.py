"""Plays arbitrary histories against the swap: wishes, answers of every kind, late ones.

A move is a small value that means something in every state, so that hypothesis can draw any
list of them: what it becomes is decided from the effect that waits for an answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from hypothesis import strategies as st

from secateur_agent.core import swap
from secateur_protocols.ota import ReasonCode
from support import ladders


class Answer(Enum):
    """How the effect that waits ends."""

    SUCCEEDS = 1
    FAILS = 2
    FAILS_FOR_GOOD = 3
    TIMES_OUT = 4


@dataclass(frozen=True)
class Wish:
    target: swap.Target


@dataclass(frozen=True)
class Late:
    """An answer to a ticket that is not the latest."""

    behind: int
    answer: Answer


@dataclass(frozen=True)
class Descend:
    """The device steps down alone, by so many levels of what it runs."""

    by: int


@dataclass(frozen=True)
class Break:
    """What should serve is damaged; the store holds another or not."""

    substitute: swap.Artifact | None


class Withdrawal(Enum):
    """Nothing is wanted of the model any more."""

    NOW = 1


Move = Wish | Withdrawal | Late | Answer | Descend | Break

targets = st.builds(
    lambda level, version: ladders.target(level, version=version),
    st.integers(0, 2),
    st.sampled_from(["1", "2"]),
)
answers = st.sampled_from(
    [Answer.SUCCEEDS] * 6 + [Answer.FAILS, Answer.FAILS_FOR_GOOD, Answer.TIMES_OUT]
)
incumbents = st.none() | targets.map(
    lambda each: ladders.artifact(each.level, version=each.ladder.version)
)
moves: st.SearchStrategy[Move] = st.one_of(
    answers,
    answers,
    answers,
    answers,
    st.builds(Wish, targets),
    st.just(Withdrawal.NOW),
    st.builds(Late, st.integers(1, 5), answers),
    st.builds(Descend, st.integers(-1, 2)),
    st.builds(Break, incumbents),
)
histories = st.lists(moves, max_size=60)


@dataclass
class Played:
    """One step of a history: before, what happened, and what follows."""

    before: swap.SwapState
    event: swap.Event
    after: swap.SwapState
    effects: tuple[swap.Effect, ...]


@dataclass
class Player:
    """The driver's part, without deeds: keeps what waits, and answers it as told."""

    state: swap.SwapState = field(default_factory=swap.SwapState)
    asked: swap.Asks | None = None

    def play(self, history: list[Move]) -> Iterator[Played]:
        for move in history:
            event = self._event(move)
            if event is not None:
                yield self.take(event)

    def take(self, event: swap.Event) -> Played:
        before = self.state
        following = swap.step(before, event)
        self.state = following.state
        asks = [each for each in following.effects if isinstance(each, swap.Asks)]
        if asks:
            self.asked = asks[-1]
        elif self.state.phase is swap.Phase.IDLE:
            self.asked = None
        return Played(before, event, following.state, following.effects)

    def _event(self, move: Move) -> swap.Event | None:
        if isinstance(move, Wish):
            return swap.Want(move.target)
        if isinstance(move, Withdrawal):
            return swap.Withdraw()
        if isinstance(move, Late):
            return self._answer(move.answer, self.state.ticket - move.behind)
        if isinstance(move, Break):
            return swap.Broken("played", move.substitute)
        if isinstance(move, Descend):
            return self._descent(move.by)
        return None if self.asked is None else self._answer(move, self.asked.ticket)

    def _descent(self, by: int) -> swap.Event | None:
        if self.state.incumbent is None:
            return None
        running = self.state.incumbent.target
        narrower = ladders.artifact(max(0, running.level + by), version=running.ladder.version)
        proof = ladders.proof(narrower.digest)
        return swap.StepDown(narrower, proof, ReasonCode.SLO_MEMORY, "played")

    def _answer(self, answer: Answer, ticket: int) -> swap.Event:
        if answer is Answer.SUCCEEDS:
            return self._success(ticket)
        if answer is Answer.TIMES_OUT:
            return swap.TimedOut(ticket)
        permanent = answer is Answer.FAILS_FOR_GOOD
        return swap.Failed(
            ticket=ticket, reason=ReasonCode.LOAD_FAILED, detail="played", permanent=permanent
        )

    def _success(self, ticket: int) -> swap.Event:
        match self.asked:
            case swap.Resolve():
                wanted = self.asked.target
                found = ladders.artifact(wanted.level, version=wanted.ladder.version)
                return swap.Resolved(ticket, found)
            case swap.Probe():
                return swap.Proven(ticket, ladders.proof(self.asked.artifact.digest))
            case _:
                return swap.Done(ticket)
