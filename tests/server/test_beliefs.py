"""Predictions: from the ladder, from like devices, from the device itself."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur_server.core.beliefs import (
    MIN_VOICES,
    Beliefs,
    fingerprint_of,
    learn,
    predict_cold,
    predict_step,
)
from secateur_server.core.experience import Compared, Experience, observe
from support.situations import make_info, make_ladder, make_measured

LADDER = make_ladder()
FINGERPRINT = "pi"
STEP = (LADDER.levels[3].digest, LADDER.levels[2].digest)
REFERENCE = math.log(4.0 / 2.0)


def experience_of(log_ratio: float, *, typical_ms: float = 4.0) -> Experience:
    return Experience(
        digest=STEP[1],
        level=2,
        boot=1,
        sequence=10,
        typical_ms=typical_ms,
        periods=3,
        compared={STEP: Compared(log_ratio, 1, 1, 10)},
    )


def taught(log_ratios: list[float]) -> Beliefs:
    beliefs = Beliefs()
    for number, log_ratio in enumerate(log_ratios):
        beliefs = learn(beliefs, f"d-{number}", FINGERPRINT, None, experience_of(log_ratio))
    return beliefs


def predict(beliefs: Beliefs, own: Experience | None = None) -> tuple[float, float]:
    step = predict_step(beliefs, FINGERPRINT, own, LADDER, running=3, level=2)
    return step.mean, step.deviation


def test_without_measurements_the_ladder_says_how_levels_compare() -> None:
    mean, deviation = predict(Beliefs())
    assert mean == pytest.approx(REFERENCE)
    assert deviation > 0.1


def test_like_devices_outweigh_the_ladder_and_make_surer() -> None:
    mean, deviation = predict(taught([0.9, 0.92, 0.88, 0.9, 0.91]))
    assert mean == pytest.approx(0.9, abs=0.02)
    assert deviation < predict(Beliefs())[1] / 2


def test_devices_of_another_kind_say_nothing() -> None:
    beliefs = taught([0.9] * 5)
    other = predict_step(beliefs, "other", None, LADDER, running=3, level=2)
    assert other.mean == pytest.approx(REFERENCE)


def test_the_way_back_is_the_way_there_reversed() -> None:
    beliefs = taught([0.9] * 5)
    there = predict_step(beliefs, FINGERPRINT, None, LADDER, running=3, level=2)
    back = predict_step(beliefs, FINGERPRINT, None, LADDER, running=2, level=3)
    assert back.mean == pytest.approx(-there.mean)


def test_a_devices_own_steps_count_beside_those_of_like_devices_and_age() -> None:
    beliefs = taught([0.7, 0.71, 0.69, 0.7])
    own = experience_of(1.0)._replace(compared={STEP: Compared(1.0, 6, 1, 10)})
    fresh, _ = predict(beliefs, own)
    aged, _ = predict(beliefs, own._replace(sequence=20_000))
    assert 0.71 < fresh < 1.0
    assert aged == pytest.approx(0.7, abs=0.02)


@given(
    st.lists(st.floats(0.5, 0.9), min_size=2, max_size=20),
    st.lists(st.floats(-8.0, 8.0), max_size=19),
)
def test_w12_a_minority_of_liars_moves_a_belief_no_further_than_honest_devices_differ(
    honest: list[float], lies: list[float]
) -> None:
    lies = lies[: len(honest) - 1]
    voices = honest + lies
    estimate = taught(voices).of_step(FINGERPRINT, STEP)
    if len(voices) < MIN_VOICES:
        assert estimate is None
        return
    assert estimate is not None
    assert min(honest) <= estimate.mean <= max(honest)


@given(st.lists(st.floats(-8.0, 8.0), min_size=1, max_size=200))
def test_w12_one_device_has_one_voice_however_often_it_speaks(said: list[float]) -> None:
    beliefs = taught([0.7, 0.7, 0.7])
    known = experience_of(0.0)
    for value in said:
        now = experience_of(value)._replace(typical_ms=math.exp(value))
        beliefs = learn(beliefs, "liar", FINGERPRINT, known, now)
        known = now
    estimate = beliefs.of_step(FINGERPRINT, STEP)
    assert estimate is not None
    assert estimate.mean == pytest.approx(0.7)


def test_w12_a_minority_that_speaks_more_often_is_not_heard_more() -> None:
    beliefs = taught([0.7] * 200)
    for _ in range(3):
        for number in range(90):
            liar = f"liar-{number}"
            beliefs = learn(beliefs, liar, FINGERPRINT, None, experience_of(5.0))
    estimate = beliefs.of_step(FINGERPRINT, STEP)
    assert estimate is not None
    assert estimate.mean == pytest.approx(0.7)


def test_a_cold_start_takes_what_like_devices_measured() -> None:
    assert predict_cold(Beliefs(), FINGERPRINT, LADDER, 2) is None
    cold = predict_cold(taught([0.69] * 4), FINGERPRINT, LADDER, 2)
    assert cold is not None
    assert math.exp(cold.mean) == pytest.approx(4.0)
    wider = predict_cold(taught([0.69] * 4), FINGERPRINT, LADDER, 1)
    assert wider is not None
    assert math.exp(wider.mean) == pytest.approx(6.0)
    assert wider.deviation > cold.deviation


def climb(before_ms: list[float], after_ms: list[float]) -> Experience:
    seen: Experience | None = None
    sequence = 0
    for level, latencies_ms in ((3, before_ms), (2, after_ms)):
        for count in range(len(latencies_ms)):
            measured = make_measured(LADDER, level, latencies_ms[: count + 1])
            seen = observe(seen, measured, boot=1, sequence=sequence, period_s=10.0)
            sequence += 1
    assert seen is not None
    return seen


def test_a_step_to_a_wider_level_teaches_how_they_compare() -> None:
    seen = climb([2.0, 2.1, 2.0, 1.9], [5.0, 5.2, 4.9, 5.0, 5.1])
    assert seen.compared[STEP].log_ratio == pytest.approx(math.log(2.5), abs=0.05)
    assert seen.compared[STEP].count == 1


def test_one_outlier_after_a_step_teaches_nothing_that_lasts() -> None:
    seen = climb([2.0] * 4, [40.0, 5.0, 5.0, 5.0])
    assert seen.compared[STEP].log_ratio == pytest.approx(math.log(2.5), abs=0.05)


def test_a_step_down_teaches_nothing() -> None:
    wide = observe(None, make_measured(LADDER, 2, [90.0]), boot=1, sequence=0, period_s=10.0)
    narrow = observe(wide, make_measured(LADDER, 3, [2.0]), boot=1, sequence=1, period_s=10.0)
    assert narrow is not None
    assert not narrow.compared


def test_a_long_absence_between_two_levels_teaches_nothing() -> None:
    narrow = observe(None, make_measured(LADDER, 3, [2.0]), boot=1, sequence=0, period_s=10.0)
    for boot, sequence in ((1, 900), (2, 0)):
        wide = observe(
            narrow, make_measured(LADDER, 2, [4.0]), boot=boot, sequence=sequence, period_s=10.0
        )
        assert wide is not None
        assert not wide.compared


def test_devices_are_alike_if_hardware_and_engine_are() -> None:
    one, other = make_info(), make_info(labels={"site": "oslo"})
    assert fingerprint_of(one) == fingerprint_of(other)
    assert fingerprint_of(one) != fingerprint_of(make_info(hardware_class="pi-5"))
