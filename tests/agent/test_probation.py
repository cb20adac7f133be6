"""The verdict on a new artifact from its first answers."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_agent.core.probation import Evidence, objection

counts = st.integers(0, 1000)


@given(counts, counts.filter(bool), st.text(max_size=50))
def test_one_fault_is_enough_to_object_and_is_named(
    answered: int, faults: int, detail: str
) -> None:
    problem = objection(Evidence(answered, faults, detail))
    assert problem is not None
    assert detail in problem
    assert str(faults) in problem


@given(counts)
def test_no_fault_is_no_objection_also_when_no_frame_came(answered: int) -> None:
    assert objection(Evidence(answered, 0, "")) is None
