"""The planner's rules, over arbitrary ladders, policies and measurements."""

import itertools
import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secateur_protocols.manifest import Ladder
from secateur_protocols.telemetry import ModelTelemetry, Resources
from secateur_server.core.beliefs import Beliefs, learn
from secateur_server.core.decision import Cause, Decision
from secateur_server.core.experience import Experience, observe
from secateur_server.core.needs import add, budget_of, needs_of, scale, shortage_of
from secateur_server.core.planner import COMFORTABLE_SHARE, TOLERATED_SHARE, decide
from secateur_server.core.policy import Policy
from secateur_server.core.situation import Situation, Task
from secateur_server.core.standing import share_of_deadline
from secateur_server.core.suitability import NONE_EXCLUDED, allowed_levels
from support.situations import MEBIBYTE, make_ladder, make_measured

if TYPE_CHECKING:
    from secateur_server.core.combination import Amounts


@st.composite
def ladders(draw: st.DrawFn, model: str = "digits") -> Ladder:
    """Draw a ladder whose levels cost less and are less accurate, one after the other."""
    size = draw(st.integers(1, 5))
    cheaper = draw(st.lists(st.floats(0.3, 0.95), min_size=size, max_size=size))
    worse = draw(st.lists(st.floats(0.001, 0.1), min_size=size, max_size=size))
    latencies_ms, accuracies, memories = [10.0], [0.99], [64 * MEBIBYTE]
    for ratio, loss in zip(cheaper[1:], worse[1:], strict=True):
        latencies_ms.append(latencies_ms[-1] * ratio)
        accuracies.append(accuracies[-1] - loss)
        memories.append(int(memories[-1] * ratio))
    return make_ladder(latencies_ms, accuracies, memories, model=model)


resources = st.builds(
    Resources,
    cpu_share=st.none() | st.floats(0.0, 1.0),
    memory_available_bytes=st.none() | st.integers(0, 200 * MEBIBYTE),
    temperature_c=st.none() | st.floats(20.0, 100.0),
    battery_ratio=st.none() | st.floats(0.0, 1.0),
    on_mains=st.none() | st.booleans(),
    disk_free_bytes=st.none() | st.integers(0, 200),
)


def make_task(
    ladder: Ladder,
    policy: Policy,
    *,
    measured: ModelTelemetry | None = None,
    desired: int | None = None,
    experience: Experience | None = None,
    excluded: frozenset[str] = NONE_EXCLUDED,
) -> Task:
    allowed = allowed_levels(ladder, policy.accuracy_floor, excluded)
    return Task(ladder, policy, allowed, desired, measured, experience)


steady = st.builds(
    lambda usual_ms, scatter: [usual_ms * each for each in scatter],
    st.floats(0.1, 40.0),
    st.lists(st.floats(0.85, 1.18), min_size=1, max_size=8),
)
periods = steady | st.lists(st.floats(0.1, 40.0), max_size=5)


@st.composite
def tasks(draw: st.DrawFn, model: str = "digits") -> Task:
    ladder = draw(ladders(model))
    last = len(ladder.levels) - 1
    recent_ms = draw(periods)
    running = draw(st.integers(0, last))
    policy = Policy(
        deadline_ms=draw(st.floats(0.5, 40.0)),
        headroom_ratio=draw(st.sampled_from([0.0, 0.2, 0.5])),
        patience=draw(st.integers(1, 4)),
        accuracy_floor=draw(st.none() | st.floats(0.7, 1.0)),
        weight=draw(st.sampled_from([0.5, 1.0, 3.0])),
        cpu_limit=draw(st.none() | st.floats(0.1, 1.0)),
    )
    return make_task(
        ladder=ladder,
        policy=policy,
        measured=draw(st.none() | st.just(make_measured(ladder, running, recent_ms))),
        desired=draw(st.none() | st.integers(0, last)),
        excluded=draw(st.sampled_from([frozenset(), frozenset({ladder.levels[0].digest})])),
    )


situations = st.builds(
    lambda several, found, cores: Situation(tasks=several, resources=found, cores=cores),
    st.lists(tasks(), min_size=1, max_size=3),
    resources,
    st.integers(1, 4),
)
alone = st.builds(
    lambda task, found: Situation(tasks=[task], resources=found), tasks(), resources
)


def worth(situation: Situation, decisions: tuple[Decision, ...]) -> float:
    return sum(
        task.policy.weight * task.ladder.levels[decision.level].accuracy.value
        for task, decision in zip(situation.tasks, decisions, strict=True)
    )


def misses(situation: Situation, levels: tuple[int, ...], share: float) -> bool:
    """Say whether levels together miss one of the shared limits."""
    total: Amounts = (0.0,) * 4
    for task, level in zip(situation.tasks, levels, strict=True):
        total = add(total, needs_of(situation, task, level))
    return shortage_of(total, scale(budget_of(situation), share)) is not None


def is_late(situation: Situation, task: Task, level: int, *, surely: bool) -> bool:
    if task.pace is None or task.running is None:
        return False
    if surely:
        log_ratio = situation.predict(task, level).mean
        return task.pace.now_ms * math.exp(log_ratio) > task.policy.deadline_ms
    return (
        share_of_deadline(task, situation.predict(task, level)) > 1 - task.policy.headroom_ratio
    )


@given(situations)
def test_the_same_situation_gives_the_same_decision(situation: Situation) -> None:
    assert decide(situation) == decide(situation)


@given(situations)
def test_a_decision_is_a_level_of_the_ladder_with_a_reason(situation: Situation) -> None:
    for task, decision in zip(situation.tasks, decide(situation), strict=True):
        assert 0 <= decision.level < len(task.ladder.levels)
        assert decision.reason
        assert len(decision.reason) < 400


@given(situations)
def test_no_limit_is_missed_that_could_have_been_kept(situation: Situation) -> None:
    """Try every combination that a device could be sent to at once, and compare."""
    decisions = decide(situation)
    levels = tuple(decision.level for decision in decisions)
    is_kept = not misses(situation, levels, TOLERATED_SHARE) and not any(
        is_late(situation, task, level, surely=True)
        for task, level in zip(situation.tasks, levels, strict=True)
    )
    if is_kept and not any(decision.is_infeasible for decision in decisions):
        return
    for task in situation.tasks:
        narrowest = max(task.allowed)
        if is_late(situation, task, narrowest, surely=False):
            return  # this one has no level that keeps its deadline for sure
    candidates = [
        [level for level in task.allowed if task.desired is None or level >= task.desired]
        or [max(task.allowed)]
        for task in situation.tasks
    ]
    for combination in itertools.product(*candidates):
        comfortable = not misses(situation, combination, COMFORTABLE_SHARE) and not any(
            is_late(situation, task, level, surely=False)
            for task, level in zip(situation.tasks, combination, strict=True)
        )
        assert not comfortable, (levels, combination)


@given(alone, st.integers(0, 200 * MEBIBYTE))
def test_more_memory_never_gives_a_narrower_level(situation: Situation, more: int) -> None:
    available = situation.resources.memory_available_bytes
    richer = situation.resources.model_copy(
        update={"memory_available_bytes": None if available is None else available + more}
    )
    (before,), (after,) = decide(situation), decide(situation._replace(resources=richer))
    assert after.level <= before.level


@given(alone, st.floats(0.0, 60.0))
def test_a_cooler_device_never_gets_a_narrower_level(situation: Situation, less: float) -> None:
    temperature_c = situation.resources.temperature_c
    cooler = situation.resources.model_copy(
        update={"temperature_c": None if temperature_c is None else temperature_c - less}
    )
    (before,), (after,) = decide(situation), decide(situation._replace(resources=cooler))
    assert after.level <= before.level


@given(alone, st.floats(1.0, 10.0))
def test_a_faster_device_never_gets_a_narrower_level(
    situation: Situation, times: float
) -> None:
    (task,) = situation.tasks
    if task.measured is None or task.running is None:
        return
    recent_ms = [each / times for each in task.measured.recent_p95_ms]
    faster = replace(task, measured=make_measured(task.ladder, task.running, recent_ms))
    (before,), (after,) = decide(situation), decide(situation._replace(tasks=[faster]))
    assert after.level <= before.level


@given(alone, st.floats(1.0, 10.0))
def test_a_later_deadline_never_gives_a_narrower_level(
    situation: Situation, times: float
) -> None:
    (task,) = situation.tasks
    policy = replace(task.policy, deadline_ms=task.policy.deadline_ms * times)
    later = situation._replace(tasks=[replace(task, policy=policy)])
    (before,), (after,) = decide(situation), decide(later)
    assert after.level <= before.level


@given(st.lists(tasks(), min_size=2, max_size=3), st.integers(0, 100), st.integers(0, 100))
def test_more_memory_is_never_worse_for_all_models_together(
    shared: list[Task], few: int, more: int
) -> None:
    def with_memory(mebibytes: int) -> Situation:
        found = Resources(memory_available_bytes=mebibytes * MEBIBYTE)
        return Situation(tasks=shared, resources=found)

    poor, rich = with_memory(few), with_memory(few + more)
    assert worth(rich, decide(rich)) >= worth(poor, decide(poor)) - 1e-9


@given(situations, st.integers(0, 63))
def test_a_pin_comes_before_everything(situation: Situation, pin: int) -> None:
    first, *others = situation.tasks
    pinned = replace(first, policy=replace(first.policy, pinned_level=pin))
    decision = decide(situation._replace(tasks=[pinned, *others]))[0]
    assert decision.level == min(pin, len(first.ladder.levels) - 1)
    assert decision.cause is Cause.PINNED


@given(alone)
def test_nothing_goes_wider_without_the_patience_of_as_many_periods(
    situation: Situation,
) -> None:
    (task,) = situation.tasks
    (decision,) = decide(situation)
    measured = task.measured
    if measured is None or task.desired is None or task.desired not in task.allowed:
        return
    if decision.level < task.desired:
        assert len(measured.recent_p95_ms) >= task.policy.patience
        assert task.desired == task.running


LADDER = make_ladder()


def situation_of(
    measured: ModelTelemetry | None, *, desired: int | None = None, **found: object
) -> Situation:
    policy = Policy(deadline_ms=10.0)
    task = make_task(ladder=LADDER, policy=policy, measured=measured, desired=desired)
    return Situation(tasks=[task], resources=Resources.model_validate(found))


def test_a_late_device_steps_down_at_once_as_far_as_it_must() -> None:
    (slightly,) = decide(situation_of(make_measured(LADDER, 0, [7.0, 7.0, 10.5]), desired=0))
    (far,) = decide(situation_of(make_measured(LADDER, 0, [7.0, 7.0, 24.0]), desired=0))
    assert slightly.level == 1
    assert far.level == 3
    assert slightly.cause is Cause.DEADLINE
    assert "> deadline" in slightly.reason


def test_where_nothing_is_fast_enough_the_binding_limit_is_named() -> None:
    (decision,) = decide(situation_of(make_measured(LADDER, 3, [50.0]), desired=3))
    assert (decision.level, decision.is_infeasible) == (3, True)
    assert decision.cause is Cause.DEADLINE
    assert "nothing fits" in decision.reason


def test_where_memory_is_short_the_limit_that_binds_is_named_with_its_numbers() -> None:
    measured = make_measured(LADDER, 3, [1.0] * 3)
    (decision,) = decide(situation_of(measured, desired=3, memory_available_bytes=0))
    assert (decision.level, decision.is_infeasible) == (3, True)
    assert "memory is short (5.24 of" in decision.reason


@pytest.mark.parametrize(
    ("temperature_c", "level", "cause"),
    [(60.0, 0, Cause.WIDER), (82.0, 2, Cause.WARM), (90.0, 3, Cause.HOT)],
)
def test_heat_holds_a_device_back_and_then_drives_it_down(
    temperature_c: float, level: int, cause: Cause
) -> None:
    measured = make_measured(LADDER, 2, [4.0] * 4)
    (decision,) = decide(situation_of(measured, desired=2, temperature_c=temperature_c))
    assert (decision.level, decision.cause) == (level, cause)


def test_a_device_that_stepped_down_by_itself_is_not_driven_back_nor_further() -> None:
    """It runs level 2 where 1 is desired; it goes back by itself when it can."""
    calm = make_measured(LADDER, 2, [4.0] * 4)
    (decision,) = decide(situation_of(calm, desired=1))
    assert decision.level == 1
    hot = situation_of(calm, desired=1, temperature_c=90.0)
    assert decide(hot)[0].level == 2
    slow = make_measured(LADDER, 2, [9.0])
    assert decide(situation_of(slow, desired=1))[0].level >= 2


def test_a_battery_below_its_floor_is_spared_the_more_the_emptier_it_is() -> None:
    measured = make_measured(LADDER, 0, [3.0] * 4)

    def level(battery_ratio: float, *, on_mains: bool) -> int:
        found = situation_of(
            measured, desired=0, battery_ratio=battery_ratio, on_mains=on_mains
        )
        return decide(found)[0].level

    assert [level(charge, on_mains=False) for charge in (0.9, 0.19, 0.12, 0.06)] == [0, 1, 2, 3]
    assert level(0.01, on_mains=True) == 0


def test_quiet_hours_hold_back_what_can_wait_and_nothing_else() -> None:
    policy = Policy(deadline_ms=10.0, quiet_hours=(0, 60))
    good, bad = make_measured(LADDER, 2, [2.0] * 4), make_measured(LADDER, 2, [12.0])
    for measured, minute, level in ((good, 59, 2), (good, 60, 0), (bad, 59, 3)):
        task = make_task(ladder=LADDER, policy=policy, measured=measured, desired=2)
        (decision,) = decide(Situation(tasks=[task], minute_of_day=minute))
        assert decision.level == level


def test_a_level_that_the_device_refuses_is_left_out() -> None:
    refused = frozenset({LADDER.levels[0].digest, LADDER.levels[1].digest})
    task = make_task(
        ladder=LADDER,
        policy=Policy(deadline_ms=10.0),
        measured=make_measured(LADDER, 2, [1.0] * 4),
        desired=0,
        excluded=refused,
    )
    (decision,) = decide(Situation(tasks=[task]))
    assert decision.level == 2


def test_a_model_that_answers_nothing_is_left_where_it_is_unless_it_may_not_be_there() -> None:
    silent = make_measured(LADDER, 0, [])
    for floor, level in ((None, 3), (0.9, 2)):
        task = make_task(
            ladder=LADDER,
            policy=Policy(deadline_ms=10.0, accuracy_floor=floor),
            measured=silent,
            desired=3,
        )
        (decision,) = decide(Situation(tasks=[task]))
        assert decision.level == level


def test_a_cold_start_follows_like_devices_and_else_begins_narrow() -> None:
    assert decide(situation_of(None))[0].level == 3
    beliefs = Beliefs()
    for device in ("a", "b", "c"):
        seen = Experience(
            digest=LADDER.levels[1].digest,
            level=1,
            boot=1,
            sequence=9,
            typical_ms=7.2,
            periods=3,
        )
        beliefs = learn(beliefs, device, "", None, seen)
    (decision,) = decide(situation_of(None)._replace(beliefs=beliefs))
    assert (decision.level, decision.cause) == (1, Cause.LIKE_DEVICES)


class _PlayedDevice:
    """A device that follows at once: what it measures is given by true latencies."""

    def __init__(self, ladder: Ladder, true_ms: list[float], deadline_ms: float) -> None:
        self.ladder, self.true_ms = ladder, true_ms
        self.policy = Policy(deadline_ms=deadline_ms)
        self.level = len(true_ms) - 1
        self.levels = [self.level]
        self.temperature_c = 40.0
        self._recent_ms: list[float] = []
        self.seen: Experience | None = None
        self._sequence, self._stayed = 0, 1

    def live(self, factor: float) -> None:
        self._recent_ms = [*self._recent_ms, self.true_ms[self.level] * factor][-16:]
        measured = make_measured(
            self.ladder, self.level, self._recent_ms, since_switch_s=10.0 * self._stayed
        )
        self._stayed += 1
        self.seen = observe(self.seen, measured, boot=1, sequence=self._sequence, period_s=10.0)
        self._sequence += 1
        task = make_task(
            ladder=self.ladder,
            policy=self.policy,
            measured=measured,
            desired=self.level,
            experience=self.seen,
        )
        found = Resources(temperature_c=self.temperature_c)
        (decision,) = decide(Situation(tasks=[task], resources=found))
        if decision.level != self.level:
            self.go(decision.level)

    def go(self, level: int) -> None:
        self.level, self._recent_ms, self._stayed = level, [], 1
        self.levels.append(level)


@settings(max_examples=30)
@given(ladders(), st.floats(1.0, 30.0), st.integers(0, 2**32))
def test_noise_within_the_headroom_never_makes_a_device_flap(
    ladder: Ladder, deadline_ms: float, seed: int
) -> None:
    chance = random.Random(seed)
    true_ms = [each.latency.p50_ms for each in ladder.levels]
    device = _PlayedDevice(ladder, true_ms, deadline_ms)
    for _ in range(60):
        device.live(chance.uniform(0.976, 1.024))
    assert device.levels == sorted(device.levels, reverse=True)


@settings(max_examples=15, deadline=None)
@given(st.floats(2.5, 12.0), st.integers(0, 2**32))
@example(deadline_ms=4.375, seed=195)
@example(deadline_ms=8.376323344175013, seed=4181649356)
def test_a_device_that_scatters_more_leaves_more_free_and_seldom_flaps(
    deadline_ms: float, seed: int
) -> None:
    chance = random.Random(seed)
    true_ms = [each.latency.p50_ms for each in LADDER.levels]
    device = _PlayedDevice(LADDER, true_ms, deadline_ms)
    for _ in range(300):
        device.live(math.exp(chance.gauss(0.0, 0.06)))
    assert len(device.levels) <= 30  # of 300 periods


@settings(max_examples=20, deadline=None)
@given(st.floats(1.3, 3.0), st.integers(0, 2**32))
def test_a_ladder_that_promises_too_much_of_a_wider_level_is_believed_a_few_times_only(
    surprise: float, seed: int
) -> None:
    chance = random.Random(seed)
    true_ms = [each.latency.p50_ms for each in LADDER.levels]
    true_ms[:3] = [surprise * each for each in true_ms[:3]]
    device = _PlayedDevice(LADDER, true_ms, deadline_ms=5.0)
    for _ in range(400):
        device.live(chance.uniform(0.95, 1.05))
    assert len(device.levels) <= 10, device.levels
    assert true_ms[device.level] <= 5.0 or device.level == 3


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_pressure_drives_a_device_down_and_its_end_lets_it_come_back(seed: int) -> None:
    chance = random.Random(seed)
    true_ms = [each.latency.p50_ms for each in LADDER.levels]
    device = _PlayedDevice(LADDER, true_ms, deadline_ms=12.0)
    history = []
    for pressure in (1.0, 3.0, 1.0):
        for _ in range(20):
            device.live(pressure * chance.uniform(0.95, 1.05))
        history.append(device.level)
    calm, pressed, after = history
    assert calm < pressed
    assert after == calm


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2))
def test_a_device_that_steps_down_alone_again_and_again_is_sent_wider_ever_more_seldom(
    seed: int, widest: int
) -> None:
    """A limit that only the device knows; no telemetry ever shows it at the wider level."""
    chance = random.Random(seed)
    true_ms = [each.latency.p50_ms for each in LADDER.levels]
    device = _PlayedDevice(LADDER, true_ms, deadline_ms=20.0)
    climbs = []
    for period in range(700):
        device.live(chance.uniform(0.95, 1.05))
        if device.level < widest:
            device.go(widest)
            climbs.append(period)
    assert len(climbs) <= 10, climbs


@pytest.mark.parametrize("seed", range(3))
def test_under_steady_heat_a_device_finds_its_level_and_stays_there(seed: int) -> None:
    """Level 0 and 1 become too hot in minutes, and cool ones let it come back."""
    chance = random.Random(seed)
    true_ms = [each.latency.p50_ms for each in LADDER.levels]
    device = _PlayedDevice(LADDER, true_ms, deadline_ms=20.0)
    switches = []
    for _ in range(1200):
        goal_c = (95.0, 90.0, 76.0, 60.0)[device.level]
        device.temperature_c += (goal_c - device.temperature_c) / 30
        before = len(device.levels)
        device.live(chance.uniform(0.95, 1.05))
        switches.append(len(device.levels) - before)
    assert sum(switches[600:]) <= 12, switches
    assert sum(switches[:600]) <= 40


def test_a_wider_level_that_holds_ends_the_waiting() -> None:
    true_ms = [each.latency.p50_ms for each in LADDER.levels]
    device = _PlayedDevice(LADDER, true_ms, deadline_ms=12.0)
    for _ in range(12):
        device.live(1.0)
        if device.level < 3:
            device.go(3)
    assert device.seen is not None
    assert device.seen.setbacks > 0
    for _ in range(400):
        device.live(1.0)
    assert device.level == 0
    assert device.seen.setbacks == 0
