"""The planner's rules, for one model on one device."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.manifest import Ladder
from secateur_protocols.telemetry import Resources
from secateur_server.core.planner import Situation, decide
from secateur_server.core.policy import Policy
from support.situations import MEBIBYTE, make_ladder, make_measured


@st.composite
def ladders(draw: st.DrawFn) -> Ladder:
    """Draw a ladder whose levels cost less and are less accurate, one after the other."""
    size = draw(st.integers(1, 6))
    cheaper = draw(st.lists(st.floats(0.3, 0.95), min_size=size, max_size=size))
    worse = draw(st.lists(st.floats(0.001, 0.1), min_size=size, max_size=size))
    latencies_ms, accuracies, memories = [10.0], [0.99], [64 * MEBIBYTE]
    for ratio, loss in zip(cheaper[1:], worse[1:], strict=True):
        latencies_ms.append(latencies_ms[-1] * ratio)
        accuracies.append(accuracies[-1] - loss)
        memories.append(int(memories[-1] * ratio))
    return make_ladder(latencies_ms, accuracies, memories)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    ladder = draw(ladders())
    last = len(ladder.levels) - 1
    recent_ms = draw(st.lists(st.floats(0.1, 40.0), max_size=5))
    running = draw(st.integers(0, last))
    return Situation(
        ladder=ladder,
        policy=Policy(
            deadline_ms=draw(st.floats(0.5, 40.0)),
            headroom_ratio=draw(st.sampled_from([0.0, 0.2, 0.5])),
            patience=draw(st.integers(1, 4)),
        ),
        resources=Resources(
            temperature_c=draw(st.none() | st.floats(20.0, 100.0)),
            memory_available_bytes=draw(st.none() | st.integers(0, 200 * MEBIBYTE)),
        ),
        measured=draw(st.none() | st.just(make_measured(ladder, running, recent_ms))),
        desired=draw(st.none() | st.integers(0, last)),
    )


@given(situations())
def test_the_same_situation_gives_the_same_decision(situation: Situation) -> None:
    assert decide(situation) == decide(situation)


@given(situations())
def test_a_decision_is_a_level_of_the_ladder_with_a_reason(situation: Situation) -> None:
    decision = decide(situation)
    assert 0 <= decision.level < len(situation.ladder.levels)
    assert decision.reason


@given(situations(), st.integers(0, 63))
def test_a_pin_comes_before_everything(situation: Situation, pin: int) -> None:
    policy = Policy(deadline_ms=situation.policy.deadline_ms, pinned_level=pin)
    pinned = Situation(
        ladder=situation.ladder,
        policy=policy,
        resources=situation.resources,
        measured=situation.measured,
        desired=situation.desired,
    )
    assert decide(pinned).level == min(pin, len(situation.ladder.levels) - 1)
