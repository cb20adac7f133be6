"""The rollout machine: its story, and its rules as properties."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.rollout import Gate, RolloutGates, RolloutPlan, RolloutState
from secateur_server.core.cohort import allowed_count, place_of
from secateur_server.core.evidence import Objection
from secateur_server.core.rollout import (
    Approved,
    Event,
    Halted,
    Looked,
    Paused,
    Promote,
    Replan,
    Resumed,
    Rollout,
    Seen,
    Stand,
    Step,
    Superseded,
    changed_devices,
    held_back,
    step,
    wants_target,
)
from support.ladders import reference

NAMES = [f"d-{number}" for number in range(12)]
SLOW = Objection(Gate.P95, "level 0: p95 20 ms, 10 ms by the old version")


def class_of(name: str) -> str:
    return "pi-4" if int(name[2:]) % 3 else "pi-3"


def begin(**plan: object) -> Rollout:
    defaults = {"soak_s": 10.0, "baseline_s": 5.0, "deadline_s": 60.0}
    return Rollout(
        rollout="digits-1",
        model="digits",
        stable=reference("1"),
        target=reference("2"),
        plan=RolloutPlan.model_validate({**defaults, **plan}),
        seen_at_s=1000.0,
        started_at_s=1000.0,
    )


def seen(name: str, **more: object) -> Seen:
    facts: dict[str, object] = {"is_online": True, "has_baseline": True, "is_judged": True}
    return Seen(hardware_class=class_of(name), **{**facts, **more})  # type: ignore[arg-type]


class Fleet:
    """Devices that do at once what is wanted of them, seen once a second."""

    def __init__(self, rollout: Rollout, names: Sequence[str] = NAMES) -> None:
        self.rollout = rollout
        self.names = list(names)
        self.faults: Mapping[str, dict[str, object]] = {}
        self.effects: list[object] = []
        self.most_changed: dict[int, int] = {}

    def look(self, count: int = 1) -> Rollout:
        for _ in range(count):
            fleet = {name: self._see(name) for name in self.names}
            self.take(step(self.rollout, Looked(self.rollout.seen_at_s + 1.0, fleet)))
            changed = len(changed_devices(self.rollout))
            wave = self.rollout.wave
            self.most_changed[wave] = max(changed, self.most_changed.get(wave, 0))
        return self.rollout

    def say(self, event: Event) -> Rollout:
        return self.take(step(self.rollout, event))

    def take(self, stepped: Step) -> Rollout:
        self.rollout = stepped.rollout
        self.effects += stepped.effects
        return self.rollout

    def _see(self, name: str) -> Seen:
        runs = wants_target(self.rollout, name)
        more = {"is_proven": runs, "is_on_target": runs, **self.faults.get(name, {})}
        if not runs:
            more.pop("objection", None)
        return seen(name, **more)


def canary() -> str:
    return min(NAMES, key=lambda name: place_of("digits-1", name))


def test_a_good_version_goes_through_every_wave_and_becomes_stable() -> None:
    fleet = Fleet(begin(waves=("1", "25%", "100%")))
    rollout = fleet.look(100)
    assert rollout.state is RolloutState.SUCCEEDED
    assert {member.stand for member in rollout.members.values()} == {Stand.GOOD}
    # A quarter of four and of eight is one and two, and the canary is one of them.
    assert fleet.most_changed == {0: 1, 1: 3, 2: 12}
    assert fleet.effects.count(Promote(reference("2"))) == 1


def test_the_canary_is_chosen_by_hash_and_not_by_order() -> None:
    forwards = Fleet(begin()).look(2)
    backwards = Fleet(begin(), list(reversed(NAMES))).look(2)
    assert set(forwards.members) == set(backwards.members) == {canary()}


def test_a_bad_canary_halts_the_rollout_and_nobody_wants_the_target_any_more() -> None:
    fleet = Fleet(begin())
    fleet.faults = {canary(): {"objection": SLOW}}
    rollout = fleet.look(30)
    assert rollout.state is RolloutState.HALTED
    assert canary() in rollout.reason
    assert "p95" in rollout.reason
    assert set(rollout.members) == {canary()}
    assert changed_devices(rollout) == frozenset()
    assert rollout.members[canary()].is_back
    assert Replan(frozenset({canary()})) in fleet.effects


def test_a_bad_device_below_the_allowed_share_goes_back_alone() -> None:
    fleet = Fleet(begin(waves=("100%",)))
    fleet.faults = {"d-5": {"objection": SLOW}}
    rollout = fleet.look(40)
    assert rollout.state is RolloutState.SUCCEEDED
    assert rollout.members["d-5"].stand is Stand.BAD


def test_one_bad_device_more_than_allowed_halts() -> None:
    fleet = Fleet(begin(waves=("100%",), gates=RolloutGates(max_bad_ratio=0.1)))
    fleet.faults = {"d-5": {"objection": SLOW}, "d-6": {"objection": SLOW}}
    assert fleet.look(40).state is RolloutState.HALTED


def test_a_device_changes_only_once_its_baseline_is_known_or_the_time_for_it_is_over() -> None:
    fleet = Fleet(begin(baseline_s=5.0))
    fleet.faults = {canary(): {"has_baseline": False}}
    assert changed_devices(fleet.look(4)) == frozenset()
    assert changed_devices(fleet.look(4)) == {canary()}


def test_a_canary_that_goes_away_expires_and_another_one_takes_its_place() -> None:
    fleet = Fleet(begin(deadline_s=20.0))
    fleet.look(3)
    fleet.faults = {canary(): {"is_online": False, "is_proven": False, "is_on_target": False}}
    rollout = fleet.look(36)
    assert rollout.members[canary()].stand is Stand.EXPIRED
    others = {name for name, each in rollout.members.items() if each.stand is Stand.SOAKING}
    assert len(others) == 1
    assert fleet.most_changed[0] == 1


def test_a_lone_canary_that_expired_is_tried_again_and_never_counts_as_good() -> None:
    fleet = Fleet(begin(deadline_s=20.0), ["d-1"])
    fleet.faults = {"d-1": {"is_proven": False}}
    assert fleet.look(120).state is RolloutState.WATCHING
    fleet.faults = {}
    assert fleet.look(120).state is RolloutState.SUCCEEDED


def test_devices_that_are_away_do_not_hold_the_last_wave_up_for_ever() -> None:
    fleet = Fleet(begin(waves=("1", "100%"), deadline_s=20.0))
    away = next(name for name in NAMES if name != canary())
    fleet.faults = {away: {"is_online": False, "is_proven": False, "is_on_target": False}}
    rollout = fleet.look(100)
    assert rollout.state is RolloutState.SUCCEEDED
    assert rollout.members[away].stand is Stand.EXPIRED


def test_without_anything_to_judge_by_a_device_does_not_become_good() -> None:
    fleet = Fleet(begin(deadline_s=1000.0))
    fleet.faults = {canary(): {"is_judged": False}}
    assert fleet.look(300).members[canary()].stand is Stand.SOAKING


def test_time_in_which_nobody_looked_counts_for_nothing() -> None:
    fleet = Fleet(begin(soak_s=600.0))
    fleet.look(3)
    fleet.rollout = replace(fleet.rollout, seen_at_s=fleet.rollout.seen_at_s + 10_000.0)
    assert fleet.look(3).members[canary()].stand is Stand.SOAKING


def test_paused_no_further_device_changes_and_gates_still_speak() -> None:
    fleet = Fleet(begin(waves=("1", "100%")))
    fleet.look(3)
    fleet.say(Paused())
    rollout = fleet.look(60)
    assert changed_devices(rollout) == {canary()}
    assert rollout.state is RolloutState.PAUSED
    fleet.faults = {canary(): {"objection": SLOW}}
    assert fleet.look().state is RolloutState.HALTED


def test_resumed_it_goes_on_where_it_was() -> None:
    fleet = Fleet(begin(waves=("1", "100%")))
    fleet.look(3)
    fleet.say(Paused())
    fleet.look(60)
    fleet.say(Resumed())
    assert fleet.look(60).state is RolloutState.SUCCEEDED


def test_with_approval_each_wave_waits_and_one_approval_opens_one_wave() -> None:
    fleet = Fleet(begin(waves=("1", "25%", "100%"), approve_each_wave=True))
    assert fleet.look(60).state is RolloutState.AWAITING
    fleet.say(Approved(0))
    fleet.say(Approved(0))
    assert fleet.look(60).state is RolloutState.AWAITING
    assert fleet.rollout.wave == 1
    fleet.say(Approved(1))
    assert fleet.look(60).state is RolloutState.SUCCEEDED


def test_a_device_that_the_version_was_not_made_for_keeps_the_old_one() -> None:
    fleet = Fleet(begin())
    others = {name for name in NAMES if class_of(name) == "pi-3"} | {canary()}
    fleet.faults = {name: {"is_unsuited": True, "is_proven": False} for name in others}
    rollout = fleet.look(120)
    assert rollout.state is RolloutState.SUCCEEDED
    stands = {name: each.stand for name, each in rollout.members.items()}
    assert {name for name, each in stands.items() if each is Stand.UNSUITED} == others
    assert held_back(rollout) == others
    assert fleet.most_changed[0] == 1


def test_half_of_a_hardware_class_is_enough_to_halt_a_wave_of_many() -> None:
    fleet = Fleet(begin(waves=("100%",), gates=RolloutGates(max_bad_ratio=0.5)))
    thirds = [name for name in NAMES if class_of(name) == "pi-3"]
    fleet.faults = {name: {"objection": SLOW} for name in thirds[:2]}
    assert fleet.look(8).state is RolloutState.WATCHING
    fleet.faults = {name: {"objection": SLOW} for name in thirds[:3]}
    rollout = fleet.look(8)
    assert rollout.state is RolloutState.HALTED
    assert "class pi-3" in rollout.reason


@pytest.mark.parametrize("event", [Halted("enough"), Superseded("digits-2")])
def test_halted_or_superseded_everybody_goes_back(event: Event) -> None:
    fleet = Fleet(begin(waves=("100%",)))
    fleet.look(5)
    assert len(changed_devices(fleet.rollout)) == len(NAMES)
    fleet.say(event)
    assert changed_devices(fleet.rollout) == frozenset()
    assert Replan(frozenset(NAMES)) in fleet.effects
    rollout = fleet.look()
    assert all(member.is_back for member in rollout.members.values())
    assert Promote(reference("2")) not in fleet.effects


def test_what_is_good_and_turns_bad_later_still_counts() -> None:
    fleet = Fleet(begin(waves=("1", "100%"), soak_s=10.0))
    while fleet.rollout.wave == 0:
        fleet.look()
    fleet.faults = {canary(): {"objection": SLOW}}
    assert fleet.look(2).state is RolloutState.HALTED


seen_states: st.SearchStrategy[dict[str, object]] = st.fixed_dictionaries(
    {
        "is_online": st.booleans(),
        "has_baseline": st.booleans(),
        "is_proven": st.booleans(),
        "is_on_target": st.booleans(),
        "is_judged": st.booleans(),
        "objection": st.sampled_from([None, None, None, SLOW]),
        "is_unsuited": st.sampled_from([False, False, False, True]),
    }
)
looks = st.builds(
    lambda seconds, facts: (
        seconds,
        {name: seen(name, **each) for name, each in zip(NAMES, facts, strict=True)},
    ),
    st.floats(-5.0, 30.0),
    st.lists(seen_states, min_size=len(NAMES), max_size=len(NAMES)),
)
operators = st.sampled_from(
    [Paused(), Resumed(), Approved(0), Approved(1), Halted("enough"), Superseded("digits-2")]
)
histories = st.lists(st.one_of(looks, looks, looks, operators), max_size=40)
plans = st.sampled_from(
    [
        {"waves": ("1", "25%", "100%")},
        {"waves": ("2", "50%"), "gates": RolloutGates(max_bad_ratio=0.3)},
        {"waves": ("10%", "100%"), "approve_each_wave": True},
        {"waves": ("100%",), "soak_s": 0.0, "deadline_s": 5.0},
    ]
)


def play(rollout: Rollout, history: Sequence[object]) -> list[tuple[Rollout, Event, Step]]:
    played = []
    at_s = 1000.0
    for happening in history:
        if isinstance(happening, tuple):
            at_s += happening[0]
            event: Event = Looked(at_s, happening[1])
        else:
            event = happening  # type: ignore[assignment]
        stepped = step(rollout, event)
        played.append((rollout, event, stepped))
        rollout = stepped.rollout
    return played


@given(plans, histories)
def test_rule_3_never_more_devices_have_changed_than_the_open_wave_allows(
    plan: dict[str, object], history: list[object]
) -> None:
    classes = {"pi-3": 4, "pi-4": 8}
    for _, _, stepped in play(begin(**plan), history):
        rollout = stepped.rollout
        allowed = allowed_count(rollout.plan.waves[rollout.wave], classes)
        assert len(changed_devices(rollout)) <= allowed


@given(plans, histories)
def test_rule_4_no_wave_opens_beyond_a_failed_gate(
    plan: dict[str, object], history: list[object]
) -> None:
    for before, _, stepped in play(begin(**plan), history):
        rollout = stepped.rollout
        for wave in range(len(rollout.plan.waves)):
            ours = [each for each in rollout.members.values() if each.wave == wave]
            bad = sum(each.stand is Stand.BAD for each in ours)
            taken = sum(each.stand not in {Stand.EXPIRED, Stand.UNSUITED} for each in ours)
            if bad > rollout.plan.gates.max_bad_ratio * taken:
                assert rollout.has_ended
                assert rollout.state is not RolloutState.SUCCEEDED
                assert set(rollout.members) == set(before.members)


@given(plans, histories)
def test_rule_2_after_the_end_nothing_changes_but_who_is_back(
    plan: dict[str, object], history: list[object]
) -> None:
    for before, _, stepped in play(begin(**plan), history):
        if before.has_ended:
            assert stepped.effects == ()
            assert stepped.rollout.state is before.state
            assert stepped.rollout.wave == before.wave
            assert changed_devices(stepped.rollout) == frozenset()


@given(plans, histories)
def test_every_change_of_what_is_wanted_is_told_and_nothing_else(
    plan: dict[str, object], history: list[object]
) -> None:
    for before, _, stepped in play(begin(**plan), history):
        moved = changed_devices(before) ^ changed_devices(stepped.rollout)
        told = [each.devices for each in stepped.effects if isinstance(each, Replan)]
        assert told == ([moved] if moved else [])


@given(plans, histories)
def test_the_same_events_give_the_same_rollout(
    plan: dict[str, object], history: list[object]
) -> None:
    assert play(begin(**plan), history) == play(begin(**plan), history)


@given(plans, histories)
def test_rule_7_what_an_operator_says_twice_changes_nothing_the_second_time(
    plan: dict[str, object], history: list[object]
) -> None:
    for _, event, stepped in play(begin(**plan), history):
        if not isinstance(event, Looked):
            assert step(stepped.rollout, event) == Step(stepped.rollout)


@given(plans, histories)
def test_a_version_succeeds_only_with_a_device_on_which_it_was_good(
    plan: dict[str, object], history: list[object]
) -> None:
    for _, _, stepped in play(begin(**plan), history):
        if stepped.rollout.state is RolloutState.SUCCEEDED:
            stands = [each.stand for each in stepped.rollout.members.values()]
            assert Stand.GOOD in stands


@given(plans, histories)
def test_rule_6_the_clock_of_a_rollout_never_goes_back_nor_leaps(
    plan: dict[str, object], history: list[object]
) -> None:
    for before, _, stepped in play(begin(**plan), history):
        assert 0.0 <= stepped.rollout.clock_s - before.clock_s <= 5.0
