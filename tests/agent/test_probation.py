"""The verdict on a new artifact from its first answers."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core.probation import LATE_RATIO, Evidence, Promise, objection, promise
from secateur_protocols.ota import ReasonCode
from support import ladders

counts = st.integers(0, 1000)
latencies_ms = st.floats(0.001, 1e5)
ratios = st.floats(0.01, 10)


@given(counts, counts.filter(bool), st.text(max_size=50), latencies_ms)
def test_one_fault_is_enough_to_object_and_is_named(
    answered: int, faults: int, detail: str, deadline_ms: float
) -> None:
    found = objection(Evidence(answered, faults, detail), Promise(None, deadline_ms))
    assert found is not None
    assert detail in found.detail
    assert str(faults) in found.detail


@given(st.none() | ratios, latencies_ms)
def test_no_frame_at_all_is_no_objection_to_what_a_probe_has_proven(
    ratio: float | None, deadline_ms: float
) -> None:
    assert objection(Evidence(0, 0, ""), Promise(ratio, deadline_ms)) is None


@given(st.none() | ratios, latencies_ms)
def test_what_neither_a_frame_nor_a_probe_has_tried_does_not_stay(
    ratio: float | None, deadline_ms: float
) -> None:
    found = objection(Evidence(0, 0, ""), Promise(ratio, deadline_ms, is_proven=False))
    assert found is not None
    assert found.reason is ReasonCode.TIMEOUT


@given(latencies_ms, latencies_ms, ratios, latencies_ms)
def test_latency_is_held_against_it_only_if_promise_and_deadline_are_broken(
    measured_ms: float, before_ms: float, ratio: float, deadline_ms: float
) -> None:
    evidence = Evidence(20, 0, "", p95_ms=measured_ms, incumbent_p95_ms=before_ms)
    found = objection(evidence, Promise(ratio, deadline_ms))
    is_broken = measured_ms > LATE_RATIO * ratio * before_ms and measured_ms > deadline_ms
    assert (found is not None) == is_broken
    assert found is None or found.reason is ReasonCode.SLO_LATENCY


@given(latencies_ms, latencies_ms)
def test_the_promise_is_relative_to_what_this_device_measured(
    scale: float, deadline_ms: float
) -> None:
    """A device any number of times slower than the manifest's machine changes nothing."""
    wide, narrow = ladders.manifest(0), ladders.manifest(1)
    promised = promise(narrow, wide, deadline_ms=deadline_ms, is_proven=True)
    evidence = Evidence(20, 0, "", p95_ms=scale, incumbent_p95_ms=scale)
    assert objection(evidence, promised) is None


@given(latencies_ms, latencies_ms)
def test_without_an_incumbent_no_latency_speaks_against_it(
    measured_ms: float, deadline_ms: float
) -> None:
    promised = promise(ladders.manifest(1), None, deadline_ms=deadline_ms, is_proven=True)
    assert objection(Evidence(20, 0, "", p95_ms=measured_ms), promised) is None
