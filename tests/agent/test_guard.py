"""Limits, and the readings that cross them."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core import guard
from secateur_agent.core.guard import Crossing, Limits, Reading, crossing
from secateur_protocols.ota import ReasonCode

LIMITS = Limits(memory_available_ratio=0.05, temperature_c=85.0)

ratios = st.floats(0, 1)
degrees = st.floats(-100, 250)
readings = st.builds(
    Reading,
    memory_available_ratio=st.none() | ratios,
    temperature_c=st.none() | degrees,
    is_throttled=st.none() | st.booleans(),
)


def test_a_device_without_sensors_crosses_nothing() -> None:
    assert crossing(Reading(), LIMITS) is None


@given(readings, ratios, degrees)
def test_a_crossing_names_the_limit_that_is_crossed(
    reading: Reading, memory: float, heat_c: float
) -> None:
    found = crossing(reading, Limits(memory_available_ratio=memory, temperature_c=heat_c))
    available, hot_c = reading.memory_available_ratio, reading.temperature_c
    is_short = available is not None and available < memory
    is_hot = bool(reading.is_throttled) or (hot_c is not None and hot_c > heat_c)
    assert (found is not None) == (is_short or is_hot)
    if found is not None:
        expected = ReasonCode.SLO_MEMORY if is_short else ReasonCode.SLO_TEMPERATURE
        assert found.reason is expected


@given(readings, st.sampled_from(list(Reading.__slots__)))
def test_a_sensor_that_vanishes_never_adds_a_crossing(reading: Reading, name: str) -> None:
    values = {each: getattr(reading, each) for each in Reading.__slots__}
    without = Reading(**{**values, name: None})
    if crossing(reading, LIMITS) is None:
        assert crossing(without, LIMITS) is None


@given(st.lists(st.booleans(), max_size=100), st.floats(0.01, 1))
def test_misses_are_counted_over_the_last_answers_only(lates: list[bool], ratio: float) -> None:
    recent = 0
    for is_late in lates:
        recent = guard.count_miss(recent, is_late=is_late)
    last = sum(lates[-guard.MISS_WINDOW :])
    assert recent.bit_count() == last
    assert guard.has_too_many_misses(recent, ratio) == (last > ratio * guard.MISS_WINDOW)


@given(st.integers(0, guard.MISSES_MASK))
def test_a_ratio_of_one_is_never_crossed(recent: int) -> None:
    assert not guard.has_too_many_misses(recent, 1.0)


@given(st.sampled_from(list(ReasonCode)), st.floats(0, 100))
def test_heat_is_given_more_time_than_anything_else(reason: ReasonCode, since_s: float) -> None:
    if guard.is_due(Crossing(ReasonCode.SLO_TEMPERATURE, ""), since_s):
        assert guard.is_due(Crossing(reason, ""), since_s)
    assert not guard.is_due(Crossing(reason, ""), 0.0)
