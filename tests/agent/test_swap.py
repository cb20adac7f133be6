"""The swap's numbered rules, over arbitrary histories of wishes, answers and late answers."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core import swap
from secateur_agent.core.swap import Phase, SwapState
from secateur_protocols.ota import TERMINAL, ReasonCode, UpdateState
from support import ladders
from support.swap_histories import (
    Answer,
    Break,
    Descend,
    Late,
    Move,
    Played,
    Player,
    Wish,
    Withdrawal,
    answers,
    histories,
    incumbents,
    targets,
)


def play(incumbent: swap.Artifact | None, history: list[Move]) -> list[Played]:
    return list(Player(SwapState(incumbent=incumbent)).play(history))


def served_after(
    incumbent: swap.Artifact | None, steps: list[Played]
) -> list[swap.Artifact | None]:
    """Follow what the inference process would serve, from the effects alone."""
    serving = incumbent
    answered = []
    for step in steps:
        finished = step.before.phase is Phase.ACTIVATING and step.after.phase is Phase.PROBATION
        if finished:
            serving = step.before.candidate
        for effect in step.effects:
            if isinstance(effect, swap.RollBack):
                serving = effect.incumbent
            elif isinstance(effect, swap.Serve):
                serving = effect.artifact
            elif isinstance(effect, swap.Commit):
                assert serving == effect.artifact
        answered.append(serving)
    return answered


@given(incumbents, histories)
def test_rule_1_the_same_events_give_the_same_effects(
    incumbent: swap.Artifact | None, history: list[Move]
) -> None:
    assert play(incumbent, history) == play(incumbent, history)


@given(incumbents, histories)
def test_rule_2_an_incumbent_always_serves_or_a_candidate_that_was_proven(
    incumbent: swap.Artifact | None, history: list[Move]
) -> None:
    steps = play(incumbent, history)
    for step, serving in zip(steps, served_after(incumbent, steps), strict=True):
        if step.after.incumbent is not None:
            assert serving is not None
        if step.after.phase is Phase.PROBATION:
            assert serving == step.after.candidate
            assert serving is not None
            assert serving.digest in step.after.proofs


@given(incumbents, histories)
def test_rule_2_a_failure_in_any_phase_leaves_the_incumbent_serving(
    incumbent: swap.Artifact | None, history: list[Move]
) -> None:
    steps = play(incumbent, history)
    for step, serving in zip(steps, served_after(incumbent, steps), strict=True):
        if step.after.phase is Phase.IDLE and isinstance(
            step.event, swap.Failed | swap.TimedOut
        ):
            assert step.after.incumbent == step.before.incumbent
            if step.after.incumbent is not None:
                assert serving == step.after.incumbent
                assert not any(isinstance(each, swap.Commit) for each in step.effects)


@given(incumbents, histories)
def test_nothing_is_committed_that_was_not_verified_proven_and_watched_in_this_order(
    incumbent: swap.Artifact | None, history: list[Move]
) -> None:
    passed: list[Phase] = []
    for step in play(incumbent, history):
        if step.after.phase in {Phase.IDLE, Phase.RESOLVING}:
            committed = [each for each in step.effects if isinstance(each, swap.Commit)]
            assert len(committed) <= 1
            for commit in committed:
                assert commit.artifact == step.before.candidate == step.after.incumbent
                tail = [phase for phase in passed if phase is not Phase.PROBING]
                assert tail[-2:] == [Phase.ACTIVATING, Phase.PROBATION]
                stepped_down = tail == [Phase.ACTIVATING, Phase.PROBATION]
                assert stepped_down or tail[-3] is Phase.VERIFYING
                assert commit.artifact.digest in step.after.proofs
            passed = []
        elif isinstance(step.event, swap.StepDown) and step.effects:
            passed = [step.after.phase]
        elif step.after.phase is not step.before.phase:
            passed.append(step.after.phase)


@given(incumbents, histories, st.integers(1, 9), answers)
def test_rule_3_a_late_answer_changes_nothing(
    incumbent: swap.Artifact | None, history: list[Move], behind: int, answer: Answer
) -> None:
    player = Player(SwapState(incumbent=incumbent))
    list(player.play(history))
    (late,) = player.play([Late(behind, answer)])
    assert late.after == late.before
    assert late.effects == ()


@given(incumbents, histories)
def test_rule_3_every_effect_that_answers_has_a_ticket_of_its_own(
    incumbent: swap.Artifact | None, history: list[Move]
) -> None:
    tickets = [
        effect.ticket
        for step in play(incumbent, history)
        for effect in step.effects
        if isinstance(effect, swap.Asks)
    ]
    assert tickets == sorted(set(tickets))


@given(incumbents, histories)
def test_rule_4_only_an_own_fault_counts_and_success_pardons(
    incumbent: swap.Artifact | None, history: list[Move]
) -> None:
    for step in play(incumbent, history):
        own = step.before.phase in {Phase.PROBING, Phase.ACTIVATING, Phase.PROBATION}
        failed = isinstance(step.event, swap.Failed | swap.TimedOut) and step.effects
        grew = sum(step.after.refusals.values()) > sum(step.before.refusals.values())
        assert grew == bool(own and failed)
        for effect in step.effects:
            if isinstance(effect, swap.Commit):
                assert effect.artifact.digest not in step.after.refusals


@given(incumbents, histories)
def test_rule_4_the_disk_counts_an_artifact_before_it_runs_and_forgives_it_after(
    incumbent: swap.Artifact | None, history: list[Move]
) -> None:
    """What a crash would leave on disk is one more than before, from the first run on."""
    disk: dict[str, int] = {}
    for step in play(incumbent, history):
        for effect in step.effects:
            if isinstance(effect, swap.Refuse):
                disk[effect.digest] = effect.count
            elif isinstance(effect, swap.Commit):
                disk.pop(effect.artifact.digest, None)
            elif isinstance(effect, swap.Probe | swap.Activate | swap.Watch):
                counted = step.after.refusals.get(effect.artifact.digest, 0)
                assert disk[effect.artifact.digest] == counted + 1
        if step.after.phase not in {Phase.PROBING, Phase.ACTIVATING, Phase.PROBATION}:
            assert {digest: n for digest, n in disk.items() if n} == step.after.refusals


@given(targets, st.integers(0, 2))
def test_rule_4_an_artifact_refused_too_often_is_not_fetched_again(
    target: swap.Target, more: int
) -> None:
    found = ladders.artifact(target.level, version=target.ladder.version)
    refusals = {found.digest: swap.MAX_REFUSALS + more}
    player = Player(SwapState(refusals=refusals))
    steps = list(player.play([Wish(target), Answer.SUCCEEDS, Wish(target)]))
    told = [e for step in steps for e in step.effects if isinstance(e, swap.Tell)]
    assert [each.state for each in told] == [UpdateState.ACCEPTED, UpdateState.REJECTED]
    assert not any(isinstance(e, swap.Fetch) for step in steps for e in step.effects)


@given(incumbents, histories)
def test_rule_4_retries_end(incumbent: swap.Artifact | None, history: list[Move]) -> None:
    """However often a fetch fails, one wish asks for it a bounded number of times."""
    fetches = 0
    for step in play(incumbent, history):
        if isinstance(step.event, swap.Want) and step.effects:
            fetches = 0
        fetches += sum(isinstance(effect, swap.Fetch) for effect in step.effects)
        assert fetches <= swap.MAX_ATTEMPTS


@given(incumbents, histories, targets)
def test_rule_5_a_newer_wish_supersedes_and_never_queues(
    incumbent: swap.Artifact | None, history: list[Move], target: swap.Target
) -> None:
    player = Player(SwapState(incumbent=incumbent))
    list(player.play(history))
    under_way = player.state.wanted
    (wished,) = player.play([Wish(target)])
    assert wished.after.wanted in {target, None}
    if under_way not in {None, target}:
        told = [each for each in wished.effects if isinstance(each, swap.Tell)]
        assert told[0].state is UpdateState.SUPERSEDED


@given(incumbents, histories)
def test_rule_6_what_was_probed_is_not_probed_again(
    incumbent: swap.Artifact | None, history: list[Move]
) -> None:
    for step in play(incumbent, history):
        for effect in step.effects:
            if isinstance(effect, swap.Probe):
                assert effect.artifact.digest not in step.before.proofs


@given(incumbents, histories)
def test_the_state_is_whole_after_every_event(
    incumbent: swap.Artifact | None, history: list[Move]
) -> None:
    for step in play(incumbent, history):
        state = step.after
        assert (state.wanted is None) == (state.phase is Phase.IDLE)
        assert (state.candidate is None) == (state.phase in {Phase.IDLE, Phase.RESOLVING})
        assert len(state.refusals) <= swap.MAX_REMEMBERED
        assert len(state.proofs) <= swap.MAX_REMEMBERED
        if state.phase is not Phase.IDLE:
            assert state.phase in swap.TIMEOUT_S


@given(incumbents, histories)
def test_every_update_that_began_is_told_an_end_before_the_next_begins(
    incumbent: swap.Artifact | None, history: list[Move]
) -> None:
    told = [
        effect.state
        for step in play(incumbent, history)
        for effect in step.effects
        if isinstance(effect, swap.Tell)
    ]
    open_ = False
    for state in told:
        # What steps down alone has been accepted, fetched and proven as a standby.
        assert open_ or state in {UpdateState.ACCEPTED, UpdateState.ACTIVATING}
        open_ = state not in TERMINAL


@given(incumbents, targets)
def test_an_undisturbed_wish_ends_with_the_wanted_artifact_committed(
    incumbent: swap.Artifact | None, target: swap.Target
) -> None:
    player = Player(SwapState(incumbent=incumbent))
    list(player.play([Wish(target), *[Answer.SUCCEEDS] * 6]))
    assert player.state.phase is Phase.IDLE
    assert player.state.incumbent is not None
    assert player.state.incumbent.target == target


@given(incumbents, histories, st.integers(-1, 2))
def test_rule_7_stepping_down_goes_narrower_in_the_same_ladder_at_once(
    incumbent: swap.Artifact | None, history: list[Move], by: int
) -> None:
    player = Player(SwapState(incumbent=incumbent))
    list(player.play(history))
    for stepped in player.play([Descend(by)]):
        before, after = stepped.before, stepped.after
        if not stepped.effects:
            assert after == before
            continue
        assert before.incumbent is not None
        assert after.candidate is not None
        assert after.candidate.target.ladder == before.incumbent.target.ladder
        assert after.candidate.target.level > before.incumbent.target.level
        asked = [each for each in stepped.effects if isinstance(each, swap.Asks)]
        assert asked == [swap.Activate(after.ticket, after.candidate)]


@given(targets, st.none() | targets)
def test_what_is_broken_is_replaced_by_what_the_store_holds(
    target: swap.Target, other: swap.Target | None
) -> None:
    held = (
        None if other is None else ladders.artifact(other.level, version=other.ladder.version)
    )
    incumbent = ladders.artifact(target.level, version=target.ladder.version)
    player = Player(SwapState(incumbent=incumbent))
    (mended,) = player.play([Break(held)])
    assert mended.after.incumbent == held
    assert mended.effects == ((swap.Serve(held),) if held else ())
    (wished,) = player.play([Wish(target)])
    assert wished.after.wanted == (None if held == incumbent else target)


def test_a_wish_that_failed_is_tried_again_at_the_next_wish() -> None:
    player = Player(SwapState(incumbent=ladders.artifact(0)))
    wish = Wish(ladders.target(1))
    list(player.play([wish, Answer.SUCCEEDS, Answer.FAILS_FOR_GOOD]))
    assert player.state.phase is Phase.IDLE
    list(player.play([wish, wish, *[Answer.SUCCEEDS] * 6]))
    assert player.state.incumbent == ladders.artifact(1)


def test_rule_9_what_failed_on_its_way_in_for_good_is_asked_for_less_and_less_often() -> None:
    player = Player(SwapState(incumbent=ladders.artifact(0)))
    asked = []
    for number in range(200):
        (played,) = player.play([Wish(ladders.target(1))])
        if any(isinstance(effect, swap.Resolve) for effect in played.effects):
            asked.append(number)
            list(player.play([Answer.FAILS_FOR_GOOD]))
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses == [2, 4, 8, 16, *[swap.MAX_SKIPS + 1] * (len(pauses) - 4)]
    (played,) = player.play([Wish(ladders.target(2))])
    assert player.state.phase is Phase.RESOLVING, "another target begins anew"


def test_rule_9_expired_metadata_are_asked_for_at_every_wish() -> None:
    state = SwapState(incumbent=ladders.artifact(0))
    for _ in range(5):
        wanting = swap.step(state, swap.Want(ladders.target(1))).state
        assert wanting.phase is Phase.RESOLVING
        expired = swap.Failed(
            ticket=wanting.ticket, reason=ReasonCode.METADATA_EXPIRED, permanent=True
        )
        state = swap.step(wanting, expired).state
        assert state.phase is Phase.IDLE


@pytest.mark.parametrize("answers", range(6))
def test_rule_5_a_withdrawn_wish_ends_canceled_in_any_phase(answers: int) -> None:
    incumbent = ladders.artifact(0)
    player = Player(SwapState(incumbent=incumbent))
    list(player.play([Wish(ladders.target(1)), *[Answer.SUCCEEDS] * answers]))
    under_way = player.state.phase
    assert under_way is not Phase.IDLE
    (ended,) = player.play([Withdrawal.NOW])
    assert player.state.phase is Phase.IDLE
    assert player.state.incumbent == incumbent
    (told,) = (each for each in ended.effects if isinstance(each, swap.Tell))
    assert (told.state, told.reason) == (UpdateState.CANCELED, ReasonCode.OPERATOR)
    assert swap.Discard() in ended.effects
    served = under_way in {Phase.ACTIVATING, Phase.PROBATION}
    assert (swap.RollBack(incumbent) in ended.effects) == served
    assert next(iter(player.play([Withdrawal.NOW]))).effects == ()


def test_a_timeout_in_probation_says_so_and_rolls_back() -> None:
    incumbent = ladders.artifact(0)
    player = Player(SwapState(incumbent=incumbent))
    list(player.play([Wish(ladders.target(1)), *[Answer.SUCCEEDS] * 5]))
    assert player.state.phase is Phase.PROBATION
    (ended,) = player.play([Answer.TIMES_OUT])
    assert swap.RollBack(incumbent) in ended.effects
    told = [each for each in ended.effects if isinstance(each, swap.Tell)]
    assert told[-1].reason is ReasonCode.TIMEOUT
