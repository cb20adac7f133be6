"""What another policy would have changed: the planner's own answer on recorded telemetry."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.control import PolicyChange
from secateur_server.coordinator.driver import Driver
from secateur_server.core.policy import Policies, Scope, change_policy
from secateur_server.dashboard.history import Moment
from secateur_server.dashboard.what_if import (
    MAX_MOMENTS,
    Outcome,
    read_policies,
    replay,
    sample,
    share_out,
)
from secateur_server.errors import ServerError
from support.browser import Browser
from support.dashboard_stage import Stage
from support.situations import make_info, make_ladder, make_measured, make_telemetry

LADDER = make_ladder()
NOBODY = Policies()


def moments(level: int, *p95_ms: float) -> list[Moment]:
    return [
        Moment(
            10.0 * place,
            make_telemetry(make_measured(LADDER, level, [ms] * 4), sequence=place),
        )
        for place, ms in enumerate(p95_ms)
    ]


def with_policy(scope: Scope, change: PolicyChange) -> Policies:
    return change_policy(NOBODY, scope, change, is_cleared=False)


def judge(recorded: Mapping[str, Sequence[Moment]], changed: Policies) -> Outcome:
    births = {
        name: make_info(labels={"room": "attic" if name == "b" else "hall"})
        for name in recorded
    }
    return replay(births, recorded, {"digits": LADDER}, (NOBODY, changed), known=len(recorded))


def test_a_tighter_deadline_would_have_made_who_misses_it_narrower() -> None:
    recorded = {"a": moments(1, 8.0, 8.0), "b": moments(0, 3.0, 3.0)}
    tighter = with_policy(Scope(), PolicyChange(deadline_ms=6.0))
    outcome = judge(recorded, tighter)
    (change,) = outcome.changes
    assert (change.device, change.before, change.after) == ("a", 1, 2)
    assert "> deadline 6 ms" in change.reason
    assert change.differing == 1.0
    assert outcome.after.accuracy is not None
    assert outcome.before.accuracy is not None
    assert outcome.after.accuracy < outcome.before.accuracy


def test_a_selector_touches_its_devices_only() -> None:
    recorded = {"a": moments(1, 8.0), "b": moments(1, 8.0)}
    pinned = with_policy(Scope(selector="room=attic"), PolicyChange(pinned_level=3))
    outcome = judge(recorded, pinned)
    assert [(each.device, each.after) for each in outcome.changes] == [("b", 3)]
    assert outcome.after.levels == {("digits", 1): 1, ("digits", 3): 1}


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.floats(0.1, 50.0)), max_size=12
    )
)
def test_the_same_policy_changes_nothing(said: list[tuple[str, int, float]]) -> None:
    recorded: dict[str, list[Moment]] = {"a": [], "b": []}
    for place, (name, level, ms) in enumerate(said):
        telemetry = make_telemetry(make_measured(LADDER, level, [ms]), sequence=place)
        recorded[name].append(Moment(float(place), telemetry))
    outcome = judge(recorded, NOBODY)
    assert outcome.changes == []
    assert outcome.before == outcome.after
    assert outcome.moments == len(said)


@given(st.integers(0, 200_000))
def test_an_answer_takes_bounded_work_and_looks_at_somebody(devices: int) -> None:
    count, each = share_out(devices)
    assert count * each <= MAX_MOMENTS
    assert count <= devices
    assert (count > 0) == (devices > 0)


def test_the_same_devices_are_looked_at_each_time() -> None:
    names = [f"d-{n}" for n in range(5000)]
    assert sample(names) == sample(names[::-1])
    assert len(sample(names)) == 1000


def test_policy_is_read_as_the_coordinator_shows_it() -> None:
    rule = {"device": None, "model": "digits", "selector": "a=b", "version": 3, "patience": 5}
    policies = read_policies({"version": 7, "rules": [rule]})
    assert policies.version == 7
    ((scope, found),) = policies.rules.items()
    assert scope == Scope(None, "digits", "a=b")
    assert (found.version, found.change) == (3, PolicyChange(patience=5))


@pytest.mark.parametrize("shown", [{}, {"rules": [1], "version": 1}, {"rules": None}])
def test_an_answer_that_is_none_is_an_error_in_words(shown: dict[str, object]) -> None:
    with pytest.raises(ServerError, match="not understood"):
        read_policies(shown)


@pytest.mark.browser
@pytest.mark.broker
def test_a_change_is_tried_out_and_then_applied(operator: Browser, stage: Stage) -> None:
    driver = stage.coordinator.driver
    assert driver is not None
    operator.wait_for("document.querySelectorAll('#rows .spark polyline').length === 12")
    operator.go(f"{stage.dashboard.url}/what-if")
    operator.click("main form button.primary")
    operator.wait_for_text("nothing is to change", inside="#toasts")
    operator.fill("#if-selector", "class=pi-zero")
    operator.fill("#if-pinned_level", "0")
    operator.click("main form button.primary")
    operator.wait_for_text("would be told something else", inside="#outcome")
    operator.wait_for_text("pinned to level 0", inside="#outcome")
    assert not selectors(driver)
    operator.click("#outcome button.primary")
    operator.wait_for_text("The policy holds from now on.", inside="#toasts")
    assert selectors(driver) == ["class=pi-zero"]
    operator.fill("#if-pinned_level", "")
    operator.click("input[name=clear]")
    operator.click("main form button.primary")
    operator.wait_for("!document.querySelector('#outcome').innerText.includes('pinned')")
    operator.click("#outcome button.primary")
    operator.wait_for("document.querySelectorAll('#toasts .good').length === 2")
    assert not selectors(driver)


def selectors(driver: Driver) -> list[str]:
    return [scope.selector for scope in driver.policies.rules if scope.selector]


@pytest.mark.browser
@pytest.mark.broker
def test_who_may_only_look_is_told_why_nothing_can_be_asked(
    viewer: Browser, stage: Stage
) -> None:
    viewer.go(f"{stage.dashboard.url}/what-if")
    viewer.wait_for_text("Your account may only look.")
