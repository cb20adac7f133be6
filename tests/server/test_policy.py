"""Which policy holds: the more particular wins, option by option."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.control import PolicyChange
from secateur_server.core.policy import (
    HEADROOM_RATIO,
    PATIENCE,
    Policies,
    Policy,
    Scope,
    change_policy,
    effective_policy,
    normalize_selector,
    parse_quiet_hours,
)
from support.message_strategies import messages

LABELS = {"site": "oslo", "hw": "pi4", "class": "pi-4"}

scopes = st.builds(
    Scope,
    device=st.sampled_from([None, "a", "b"]),
    model=st.sampled_from([None, "m", "n"]),
    selector=st.sampled_from(["", "hw=pi4", "site=oslo", "hw=pi4,site=oslo", "site=rome"]),
)
changes = st.tuples(scopes, messages(PolicyChange))


def fold(history: list[tuple[Scope, PolicyChange]]) -> Policies:
    policies = Policies()
    for scope, change in history:
        policies = change_policy(policies, scope, change, is_cleared=False)
    return policies


def rule(scope: Scope, **options: float) -> tuple[Scope, PolicyChange]:
    return scope, PolicyChange.model_validate(options)


def test_without_policy_the_devices_own_deadline_and_the_defaults_hold() -> None:
    policy = effective_policy(Policies(), "a", "m", own_deadline_ms=7.0)
    assert policy == Policy(deadline_ms=7.0, headroom_ratio=HEADROOM_RATIO, patience=PATIENCE)


ORDER = [
    Scope(),
    Scope(model="m"),
    Scope(selector="site=oslo"),
    Scope(selector="site=oslo", model="m"),
    Scope(selector="hw=pi4,site=oslo"),
    Scope(selector="hw=pi4,site=oslo", model="m"),
    Scope(device="a"),
    Scope(device="a", model="m"),
]


@given(st.permutations(range(len(ORDER))), st.sets(st.integers(0, len(ORDER) - 1), min_size=1))
def test_the_most_particular_scope_wins_in_whatever_order_they_were_set(
    order: list[int], present: set[int]
) -> None:
    history = [
        rule(ORDER[place], deadline_ms=1.0 + place) for place in order if place in present
    ]
    policy = effective_policy(fold(history), "a", "m", own_deadline_ms=99.0, labels=LABELS)
    assert policy.deadline_ms == 1.0 + max(present)


def test_options_of_different_scopes_add_up() -> None:
    policies = fold(
        [
            rule(Scope(), headroom=0.4, patience=9),
            rule(Scope(selector="class=pi-4"), deadline_ms=5.0),
            rule(Scope(device="a"), patience=1),
        ]
    )
    policy = effective_policy(policies, "a", "m", own_deadline_ms=7.0, labels=LABELS)
    assert (policy.headroom_ratio, policy.deadline_ms, policy.patience) == (0.4, 5.0, 1)


def test_of_equally_particular_rules_the_one_set_last_wins() -> None:
    first, second = (
        rule(Scope(selector="hw=pi4"), patience=2),
        rule(Scope(selector="site=oslo"), patience=5),
    )
    for history, patience in (([first, second], 5), ([second, first], 2)):
        policy = effective_policy(fold(history), "a", "m", own_deadline_ms=7.0, labels=LABELS)
        assert policy.patience == patience


def test_a_selector_wants_all_of_its_labels() -> None:
    policies = fold([rule(Scope(selector="hw=pi4,site=rome"), patience=9)])
    policy = effective_policy(policies, "a", "m", own_deadline_ms=7.0, labels=LABELS)
    assert policy.patience == PATIENCE


@given(st.lists(changes, max_size=6), scopes, messages(PolicyChange))
def test_a_change_touches_its_own_scope_and_only_what_it_sets(
    history: list[tuple[Scope, PolicyChange]], scope: Scope, change: PolicyChange
) -> None:
    policies = fold(history)
    after = change_policy(policies, scope, change, is_cleared=False)
    assert {known: value for known, value in policies.rules.items() if known != scope} == {
        known: value for known, value in after.rules.items() if known != scope
    }
    before = policies.rules[scope].change if scope in policies.rules else PolicyChange()
    now = after.rules[scope].change if scope in after.rules else PolicyChange()
    for name, value in change.model_dump().items():
        assert getattr(now, name) == (getattr(before, name) if value is None else value)


@given(st.lists(changes, max_size=6), changes)
def test_every_change_makes_a_new_version_and_the_same_twice_makes_none(
    history: list[tuple[Scope, PolicyChange]], change: tuple[Scope, PolicyChange]
) -> None:
    before = fold(history)
    after = change_policy(before, *change, is_cleared=False)
    assert after.version == before.version + (after.rules != before.rules)
    assert change_policy(after, *change, is_cleared=False) is after


@given(st.lists(changes, max_size=6), scopes)
def test_clearing_a_scope_forgets_it(
    history: list[tuple[Scope, PolicyChange]], scope: Scope
) -> None:
    after = change_policy(fold(history), scope, PolicyChange(), is_cleared=True)
    assert scope not in after.rules


@given(
    st.lists(changes, max_size=6), changes, st.sampled_from(sorted(PolicyChange.model_fields))
)
def test_to_unset_an_option_leaves_the_others(
    history: list[tuple[Scope, PolicyChange]], change: tuple[Scope, PolicyChange], option: str
) -> None:
    scope = change[0]
    before = fold([*history, change])
    after = change_policy(before, scope, PolicyChange(), is_cleared=False, unset=[option])
    said = {} if scope not in after.rules else after.rules[scope].change.model_dump()
    expected = before.rules[scope].change.model_dump() if scope in before.rules else {}
    expected.pop(option, None)
    for name, value in expected.items():
        assert said.get(name) == value
    assert said.get(option) is None


def test_a_selector_has_one_spelling() -> None:
    assert normalize_selector(" site=oslo, hw=pi4 ,hw=pi4") == "hw=pi4,site=oslo"


@pytest.mark.parametrize("text", ["oslo", "site=", "=oslo", "a=1,a=2", "a=b=c", "x" * 3000])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        normalize_selector(text)


@pytest.mark.parametrize(
    ("hours", "quiet", "loud"),
    [("08:00-10:30", [480, 629], [479, 630]), ("22:00-06:00", [1320, 0, 359], [360, 1319])],
)
def test_quiet_hours_may_span_midnight(hours: str, quiet: list[int], loud: list[int]) -> None:
    policy = Policy(deadline_ms=1.0, quiet_hours=parse_quiet_hours(hours))
    assert all(policy.is_quiet(minute) for minute in quiet)
    assert not any(policy.is_quiet(minute) for minute in loud)
