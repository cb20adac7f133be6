"""Which of two messages is the newer one, decided without a clock."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.ota import TERMINAL, UpdateState
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Reported
from secateur_protocols.telemetry import Resources, Telemetry

counters = st.integers(0, 2**53)


def presence(boot: int, session: int) -> Presence:
    return Presence(state=PresenceState.ONLINE, boot=boot, session=session)


def reported(boot: int, sequence: int) -> Reported:
    return Reported(boot=boot, sequence=sequence, revision=0, models=())


def telemetry(boot: int, sequence: int) -> Telemetry:
    return Telemetry(
        boot=boot,
        sequence=sequence,
        sent_at="1970-01-01T00:00:00Z",
        period_s=1.0,
        resources=Resources(),
        models=(),
    )


@pytest.mark.parametrize("build", [presence, reported, telemetry])
@given(boot=st.integers(0, 2**53 - 1), before=counters, after=counters)
def test_w4_a_restart_is_newer_than_all_that_came_before_it(
    build: Callable[[int, int], Presence | Reported | Telemetry],
    boot: int,
    before: int,
    after: int,
) -> None:
    assert build(boot, before).order < build(boot + 1, after).order


@pytest.mark.parametrize("build", [presence, reported, telemetry])
@given(boot=counters, first=counters, second=counters)
def test_w4_within_a_boot_the_larger_number_is_the_newer(
    build: Callable[[int, int], Presence | Reported | Telemetry],
    boot: int,
    first: int,
    second: int,
) -> None:
    assert (build(boot, first).order < build(boot, second).order) == (first < second)


def test_w3_a_late_last_will_is_older_than_the_birth_that_overtook_it() -> None:
    late_will = Presence(state=PresenceState.OFFLINE, boot=7, session=1)
    assert late_will.order < presence(7, 2).order


def test_an_update_has_ended_exactly_when_nothing_can_follow() -> None:
    assert set(UpdateState) - TERMINAL == {
        UpdateState.QUEUED,
        UpdateState.ACCEPTED,
        UpdateState.DOWNLOADING,
        UpdateState.DOWNLOADED,
        UpdateState.VERIFIED,
        UpdateState.STAGED,
        UpdateState.ACTIVATING,
        UpdateState.PROBATION,
    }
