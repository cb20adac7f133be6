"""Simulated agents leave unsaid what real ones do."""

import dataclasses
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core.profile import NORMAL
from secateur_agent.core.quiet import Quiet, Seen, forget, weigh
from secateur_protocols.telemetry import Resources
from secateur_server.simulation.scenario import SilenceSpec
from secateur_server.simulation.silence import Moment, Silence
from support.reports import REPORT

PERIOD_S = 30.0
DEADLINE_MS = REPORT.deadline_ms
UNLIMITED = dataclasses.replace(NORMAL, month_bytes=1e15)
DIGESTS = ["a" * 64, "b" * 64, "c" * 64]


class Period(NamedTuple):
    p95_ms: float
    level: int
    cpu_share: float
    temperature_c: float
    is_throttled: bool
    is_away: bool


periods = st.builds(
    Period,
    # Many a value comes again: silence begins only where little changes.
    st.sampled_from([0.5, 0.9, 1.0, 1.1]).map(DEADLINE_MS.__mul__) | st.floats(0.01, 500.0),
    st.integers(0, 2),
    st.sampled_from([0.2, 0.4]) | st.floats(0, 1),
    st.sampled_from([70.0, 79.0, 81.0]) | st.floats(20, 100),
    st.booleans(),
    st.booleans(),
)
histories = st.lists(st.tuples(periods, st.integers(1, 25)), max_size=12).map(
    lambda runs: [period for period, count in runs for _ in range(count)]
)


def said_by_agent(history: list[Period]) -> list[bool]:
    """Let a real agent weigh each period; who comes back says what it is whatever it holds."""
    state, said = Quiet(), []
    for period in history:
        resources = Resources(
            cpu_share=period.cpu_share,
            temperature_c=period.temperature_c,
            throttled=period.is_throttled,
        )
        report = dataclasses.replace(
            REPORT, p95_ms=period.p95_ms, level=period.level, digest=DIGESTS[period.level]
        )
        seen = Seen(
            elapsed_s=PERIOD_S, wire_bytes=0, resources=resources, reports={"digits": report}
        )
        if period.is_away:
            state = forget(state)
            said.append(False)
            continue
        state, why = weigh(state, seen, UNLIMITED)
        said.append(why is not None)
    return said


@given(st.lists(histories, min_size=1, max_size=3))
def test_simulated_agents_say_the_periods_that_real_ones_say(fleet: list[list[Period]]) -> None:
    length = min(map(len, fleet))
    histories = [history[:length] for history in fleet]
    silence = Silence(SilenceSpec(), np.full(len(fleet), DEADLINE_MS), PERIOD_S)
    said = [
        silence.end_with(_moment(together), np.array([each.is_away for each in together]))
        for together in zip(*histories, strict=True)
    ]
    by_device = np.array(said, bool).reshape(length, len(fleet)).T.tolist()
    assert by_device == [said_by_agent(history) for history in histories]


def test_to_say_every_period_is_a_setting() -> None:
    every = SilenceSpec(refresh_periods=1)
    silence = Silence(every, np.full(1, DEADLINE_MS), PERIOD_S)
    calm, here = _moment([Period(1.0, 0, 0.2, 50.0, False, False)]), np.zeros(1, bool)
    assert all(silence.end_with(calm, here).all() for _ in range(20))


def _moment(together: "list[Period] | tuple[Period, ...]") -> Moment:
    return Moment(
        np.array([each.p95_ms for each in together]),
        np.array([each.level for each in together]),
        np.array([each.cpu_share for each in together]),
        np.array([each.temperature_c for each in together]),
        np.array([each.is_throttled for each in together]),
    )
