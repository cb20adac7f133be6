"""The standby's numbered rules, over arbitrary histories of aims, answers and late answers."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core import standby, swap
from secateur_agent.core.standby import Aim, Phase, StandbyState
from secateur_protocols.ota import ReasonCode
from support import ladders

aims = st.none() | st.builds(
    lambda level, version: ladders.target(level, version=version),
    st.integers(1, 3),
    st.sampled_from(["1", "2"]),
)
answers = st.sampled_from(["succeeds"] * 5 + ["fails", "fails for good", "times out"])
moves = st.one_of(
    answers, answers, answers, st.builds(Aim, aims), st.tuples(st.integers(1, 4), answers)
)
histories = st.lists(moves, max_size=40)

Played = tuple[StandbyState, standby.Event, StandbyState, tuple[standby.Effect, ...]]


def answer_to(asked: standby.Asks, how: str, ticket: int) -> standby.Event:
    if how == "times out":
        return swap.TimedOut(ticket)
    if how != "succeeds":
        is_final = how == "fails for good"
        reason = ReasonCode.LOAD_FAILED
        return swap.Failed(ticket=ticket, reason=reason, permanent=is_final)
    match asked:
        case swap.Resolve():
            wanted = asked.target
            found = ladders.artifact(wanted.level, version=wanted.ladder.version)
            return swap.Resolved(ticket, found)
        case swap.Probe():
            return swap.Proven(ticket, ladders.proof(asked.artifact.digest))
        case _:
            return swap.Done(ticket)


def play(history: list[object]) -> Iterator[Played]:
    state, asked = StandbyState(), None
    for move in history:
        if isinstance(move, Aim):
            event: standby.Event = move
        elif asked is None:
            continue
        elif isinstance(move, tuple):
            event = answer_to(asked, move[1], state.ticket - move[0])
        else:
            event = answer_to(asked, str(move), asked.ticket)
        following = standby.step(state, event)
        yield state, event, following.state, following.effects
        state = following.state
        asks = [each for each in following.effects if isinstance(each, standby.Asks)]
        asked = asks[-1] if asks else asked


@given(histories)
def test_rule_1_what_is_ready_was_verified_and_proven_here(history: list[object]) -> None:
    passed: list[Phase] = []
    for before, event, after, _ in play(history):
        if isinstance(event, Aim) and after.ticket != before.ticket:
            passed = []
        if after.phase is not before.phase:
            passed.append(after.phase)
        if after.phase is Phase.READY:
            assert {Phase.VERIFYING, Phase.PROBING, Phase.PREPARING} <= set(passed)
            assert after.artifact is not None
            assert after.artifact.target == after.aim
            assert after.proof == ladders.proof(after.artifact.digest)


@given(histories)
def test_rule_1_what_was_prepared_is_released_before_another_is(history: list[object]) -> None:
    held = False
    for _, _, after, effects in play(history):
        for effect in effects:
            if isinstance(effect, standby.Prepare):
                assert not held
                held = True
            elif isinstance(effect, standby.Release):
                held = False
        assert held == (after.phase in {Phase.PREPARING, Phase.READY})


@given(histories)
def test_rule_2_a_late_answer_changes_nothing(history: list[object]) -> None:
    for before, event, after, effects in play(history):
        if not isinstance(event, Aim) and event.ticket != before.ticket:
            assert after == before
            assert effects == ()


@given(histories, aims)
def test_rule_3_what_failed_for_good_is_not_aimed_at_again(
    history: list[object], target: swap.Target | None
) -> None:
    state = StandbyState()
    for _, _, state, _ in play(history):  # noqa: B007 - the last one is wanted
        pass
    aimed = standby.step(state, Aim(target))
    if state.is_hopeless and target == state.aim:
        assert aimed.effects == ()
    again = standby.step(aimed.state, Aim(target))
    assert again == standby.Step(aimed.state)


def test_rule_3_what_may_pass_is_tried_again_when_the_aim_is_renewed() -> None:
    aim = Aim(ladders.target(1))
    *_, (_, _, failed, _) = play([aim, "succeeds", "fails"])
    assert failed.phase is Phase.IDLE
    assert standby.step(failed, aim).state.phase is Phase.RESOLVING


def test_an_undisturbed_aim_ends_ready() -> None:
    *_, (_, _, state, _) = play([Aim(ladders.target(2)), *["succeeds"] * 5])
    assert state.phase is Phase.READY


@given(histories)
def test_every_phase_that_waits_has_a_timeout(history: list[object]) -> None:
    for _, _, after, _ in play(history):
        assert after.phase in {Phase.IDLE, Phase.READY} or after.phase in standby.TIMEOUT_S
