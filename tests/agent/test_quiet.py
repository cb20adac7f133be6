"""A quiet device says little, what matters is said at once, and the budget holds (rule W11)."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core.profile import METERED, MONTH_S, NORMAL, Profile
from secateur_agent.core.quiet import (
    COMPLAINT_S,
    MOST_COMPLAINTS,
    Quiet,
    Seen,
    Why,
    complain,
    forget,
    weigh,
)
from secateur_agent.core.report import LaneReport
from secateur_protocols.telemetry import Resources
from support.reports import REPORT

MESSAGE_BYTES = 1200
PERIOD_S = 10.0

profiles = st.sampled_from([NORMAL, METERED])
reports = st.builds(
    dataclasses.replace,
    st.just(REPORT),
    digest=st.sampled_from(["a" * 64, "b" * 64]),
    p95_ms=st.none() | st.floats(0.1, 200.0),
    lost=st.integers(0, 2),
)
resources = st.builds(
    Resources,
    cpu_share=st.none() | st.floats(0, 1),
    memory_pressure=st.none() | st.floats(0, 1),
    memory_total_bytes=st.none() | st.just(1000),
    memory_available_bytes=st.none() | st.integers(0, 1000),
    temperature_c=st.none() | st.floats(20, 100),
    throttled=st.none() | st.booleans(),
    on_mains=st.none() | st.booleans(),
    disk_free_bytes=st.none() | st.integers(0, 10**12),
)


@dataclass(frozen=True)
class Period:
    resources: Resources
    report: LaneReport | None
    elapsed_s: float = PERIOD_S


periods = st.builds(Period, resources, st.none() | reports, st.sampled_from([1.0, PERIOD_S]))
histories = st.lists(st.tuples(periods, st.integers(1, 30)), max_size=12).map(
    lambda runs: [period for period, count in runs for _ in range(count)]
)
CALM = Period(Resources(cpu_share=0.3, temperature_c=50.0, throttled=False), REPORT)


def play(
    history: Sequence[Period], profile: Profile, message_bytes: int = MESSAGE_BYTES
) -> list[tuple[Quiet, Why | None]]:
    """Weigh period after period; each message costs bytes that the next period counts."""
    state, wire_bytes, weighed = Quiet(), 0, []
    for period in history:
        seen = Seen(
            elapsed_s=period.elapsed_s,
            wire_bytes=wire_bytes,
            resources=period.resources,
            reports={"digits": period.report} if period.report is not None else {},
        )
        state, why = weigh(state, seen, profile)
        wire_bytes += message_bytes if why is not None else 0
        weighed.append((state, why))
    return weighed


@given(history=histories, profile=profiles, message_bytes=st.integers(1, 200_000))
def test_nothing_is_silent_for_longer_than_it_promises(
    history: list[Period], profile: Profile, message_bytes: int
) -> None:
    """Whatever it costs, and also when the budget is long used up."""
    silent_s, promised_s = 0.0, 0.0
    weighed = play(history * 5, profile, message_bytes)
    for period, (state, why) in zip(history * 5, weighed, strict=True):
        silent_s += period.elapsed_s
        if why is None:
            assert silent_s < promised_s
            continue
        silent_s, promised_s = 0.0, state.promised_s
        assert profile.silence_s <= promised_s <= profile.longest_silence_s


@given(history=histories, profile=profiles)
def test_while_there_is_budget_the_silence_is_the_profile_s_own(
    history: list[Period], profile: Profile
) -> None:
    promised = {state.promised_s for state, _ in play(history, profile, 0)}
    assert promised <= {profile.silence_s}


@given(profile=profiles, count=st.integers(1, 600))
def test_a_device_on_which_nothing_happens_says_only_that_it_is_there(
    profile: Profile, count: int
) -> None:
    said = [why for _, why in play([CALM] * count, profile) if why is not None]
    assert set(said) == {Why.HEARTBEAT}
    assert len(said) <= 1 + count * PERIOD_S / profile.silence_s


@given(history=histories, profile=profiles)
def test_while_there_is_budget_a_crossed_limit_is_said_in_its_own_period(
    history: list[Period], profile: Profile
) -> None:
    crossings = [
        (Resources(throttled=True), REPORT),
        (Resources(temperature_c=81.0), REPORT),
        (Resources(on_mains=False), REPORT),
        (Resources(memory_available_bytes=9, memory_total_bytes=100), REPORT),
        (Resources(), dataclasses.replace(REPORT, p95_ms=50.1)),
        (Resources(), dataclasses.replace(REPORT, digest="c" * 64)),
        (Resources(), dataclasses.replace(REPORT, lost=3)),
        (Resources(), None),
    ]
    base = Resources(
        throttled=False,
        temperature_c=79.0,
        on_mains=True,
        memory_available_bytes=11,
        memory_total_bytes=100,
    )
    for changed, report in crossings:
        known = changed.model_dump(exclude_none=True)
        after = Period(base.model_copy(update=known), report)
        *_, (_, why) = play([*history, Period(base, REPORT), after], profile, 0)
        assert why in {Why.URGENT, Why.HEARTBEAT}


@given(
    history=histories.filter(bool),
    profile=profiles,
    step_s=st.sampled_from([0.2, 10.0, 300.0]),
    cost_ratio=st.floats(0.01, 1),
    faults=st.integers(0, 3),
)
def test_whatever_happens_no_more_passes_than_the_budget(
    history: list[Period], profile: Profile, step_s: float, cost_ratio: float, faults: int
) -> None:
    """With messages that bring about as much as may be, faults, and pings meanwhile."""
    inflow, bucket = profile.bytes_per_s, profile.burst_bytes
    most_bytes = cost_ratio * min(bucket, inflow * profile.longest_silence_s)
    ping_bytes = 0.2 * cost_ratio * inflow * step_s
    state, used, elapsed_s = Quiet(), 0.0, 0.0
    for period in history * 40:
        elapsed_s += step_s
        used += ping_bytes
        reports = {"digits": period.report} if period.report is not None else {}
        seen = Seen(
            elapsed_s=step_s,
            wire_bytes=int(used),
            resources=period.resources,
            reports=reports,
        )
        state, why = weigh(state, seen, profile)
        used += 0.7 * most_bytes if why is not None else 0
        for _ in range(faults):
            complaint = complain(state, profile)
            used += 700 if complaint is not None else 0
            state = complaint or state
        assert used <= inflow * elapsed_s + 4 * bucket
    assert inflow * MONTH_S + 4 * bucket == pytest.approx(profile.month_bytes)


def test_faults_are_told_at_once_but_not_by_the_hundred() -> None:
    state, told = Quiet(), 0
    for _ in range(1000):
        complaint = complain(state, NORMAL)
        told += complaint is not None
        state = complaint or state
    assert told == MOST_COMPLAINTS
    seen = Seen(elapsed_s=COMPLAINT_S, wire_bytes=0, resources=Resources(), reports={})
    state, _ = weigh(state, seen, NORMAL)
    assert complain(state, NORMAL) is not None


def test_a_fault_is_not_told_when_the_credit_is_used_up() -> None:
    spent = Quiet(saved_bytes=-METERED.burst_bytes)
    assert complain(spent, METERED) is None


@given(history=histories, profile=profiles)
def test_what_was_said_last_is_close_to_what_is(
    history: list[Period], profile: Profile
) -> None:
    """Silence says something: all is within the dead-band of the last message."""
    for period, (state, why) in zip(history, play(history, profile, 0), strict=True):
        assert state.said is not None
        before, now = state.said.resources, period.resources
        if before.temperature_c is not None and now.temperature_c is not None:
            assert abs(before.temperature_c - now.temperature_c) <= profile.celsius
        assert before.throttled == now.throttled
        report = state.said.reports.get("digits")
        assert (report is None) == (period.report is None)
        if report is not None and period.report is not None:
            assert report.digest == period.report.digest
        assert why is None or state.said.resources == period.resources


def test_short_periods_are_refreshed_sooner_but_only_while_there_is_budget() -> None:
    calm = Period(CALM.resources, REPORT, elapsed_s=1.0)
    weighed = play([calm] * 40_000, NORMAL)
    at_first = [why for _, why in weighed[:1200]]
    assert at_first.count(Why.REFRESH) == 1199 // NORMAL.refresh_periods
    at_last = [why for _, why in weighed[-1200:] if why is not None]
    spent = len(at_last) * MESSAGE_BYTES
    assert spent <= 1200 * NORMAL.month_bytes / MONTH_S + MESSAGE_BYTES


@given(history=histories, profile=profiles)
def test_after_a_new_connection_the_next_period_is_said(
    history: list[Period], profile: Profile
) -> None:
    state = play([*history, CALM], profile)[-1][0]
    seen = Seen(elapsed_s=1.0, wire_bytes=10**9, resources=Resources(), reports={})
    _, why = weigh(forget(state), seen, profile)
    assert why is Why.HEARTBEAT


def test_the_periods_after_one_that_mattered_are_said_so_that_patience_can_count() -> None:
    slow = Period(CALM.resources, dataclasses.replace(REPORT, p95_ms=60.0))
    said = [why for _, why in play([CALM] * 3 + [slow] * 10, NORMAL)]
    assert said[1:4] == [None, None, Why.URGENT]
    assert said[4:10] == [Why.FOLLOWING] * NORMAL.following
    assert said[10:] == [None] * 3


@pytest.mark.parametrize(("p95_ms", "is_said"), [(12.0, False), (13.0, True), (7.0, True)])
def test_a_p95_is_said_when_it_leaves_the_dead_band(p95_ms: float, *, is_said: bool) -> None:
    moved = Period(CALM.resources, dataclasses.replace(REPORT, p95_ms=p95_ms))
    assert (play([CALM, moved], NORMAL)[-1][1] is Why.NOTABLE) is is_said
