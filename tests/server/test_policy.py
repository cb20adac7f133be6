"""Which policy holds: the more particular wins, option by option."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.control import PolicyChange
from secateur_server.core.policy import (
    HEADROOM_RATIO,
    PATIENCE,
    Policies,
    Scope,
    change_policy,
    effective_policy,
)
from support.message_strategies import messages

scopes: st.SearchStrategy[Scope] = st.tuples(
    st.sampled_from([None, "a", "b"]), st.sampled_from([None, "m", "n"])
)
policies = st.dictionaries(scopes, messages(PolicyChange), max_size=6)


def test_without_policy_the_devices_own_deadline_and_the_defaults_hold() -> None:
    policy = effective_policy({}, "a", "m", own_deadline_ms=7.0)
    assert policy.deadline_ms == 7.0
    assert policy.headroom_ratio == HEADROOM_RATIO
    assert policy.patience == PATIENCE
    assert policy.accuracy_floor is None
    assert policy.pinned_level is None


@given(policies)
def test_an_option_comes_from_the_most_particular_scope_that_sets_it(rules: Policies) -> None:
    policy = effective_policy(rules, "a", "m", own_deadline_ms=7.0)
    order: list[Scope] = [("a", "m"), ("a", None), (None, "m"), (None, None)]
    set_ms = [rules[scope].deadline_ms for scope in order if scope in rules]
    known_ms = [deadline_ms for deadline_ms in set_ms if deadline_ms is not None]
    assert policy.deadline_ms == (known_ms[0] if known_ms else 7.0)


@given(policies, scopes, messages(PolicyChange))
def test_a_change_touches_its_own_scope_and_only_what_it_sets(
    rules: Policies, scope: Scope, change: PolicyChange
) -> None:
    after = change_policy(rules, scope, change, is_cleared=False)
    assert {known: rules[known] for known in rules if known != scope} == {
        known: after[known] for known in after if known != scope
    }
    before = rules.get(scope, PolicyChange()).model_dump()
    now = after.get(scope, PolicyChange()).model_dump()
    for name, value in change.model_dump().items():
        assert now[name] == (before[name] if value is None else value)


@given(policies, scopes)
def test_clearing_a_scope_forgets_it(rules: Policies, scope: Scope) -> None:
    assert scope not in change_policy(rules, scope, PolicyChange(), is_cleared=True)


@given(policies, scopes, messages(PolicyChange))
def test_the_same_change_twice_is_as_good_as_once(
    rules: Policies, scope: Scope, change: PolicyChange
) -> None:
    once = change_policy(rules, scope, change, is_cleared=False)
    assert change_policy(once, scope, change, is_cleared=False) == once
