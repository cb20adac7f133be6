"""Who is in a wave."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from secateur_server.core.cohort import allowed_count, choose

fleets = st.dictionaries(
    st.from_regex(r"d-[0-9]{1,4}", fullmatch=True),
    st.sampled_from(["pi-3", "pi-4", "jetson"]),
    max_size=60,
)
sizes = st.sampled_from(["1", "3", "0.5%", "5%", "25%", "100%"])


@given(fleets, sizes)
def test_a_wave_takes_as_many_as_it_may_and_no_more(fleet: dict[str, str], size: str) -> None:
    chosen = choose("r-1", size, fleet=fleet, taken=(), candidates=fleet)
    assert len(set(chosen)) == len(chosen)
    allowed = allowed_count(size, Counter(fleet.values()))
    assert len(chosen) == min(allowed, len(fleet))


@given(fleets, st.sampled_from(["0.5%", "5%", "25%", "100%"]))
def test_every_hardware_class_is_in_every_share(fleet: dict[str, str], size: str) -> None:
    chosen = choose("r-1", size, fleet=fleet, taken=(), candidates=fleet)
    assert {fleet[device] for device in chosen} == set(fleet.values())


@given(fleets, sizes, st.randoms())
def test_the_order_in_which_devices_are_known_does_not_matter(
    fleet: dict[str, str], size: str, chance: Random
) -> None:
    names = list(fleet)
    chance.shuffle(names)
    shuffled = {name: fleet[name] for name in names}
    assert set(choose("r-1", size, fleet=fleet, taken=(), candidates=fleet)) == set(
        choose("r-1", size, fleet=shuffled, taken=(), candidates=names)
    )


@given(fleets)
def test_a_wider_wave_adds_to_a_narrower_one(fleet: dict[str, str]) -> None:
    taken: set[str] = set()
    for size in ("1", "5%", "25%", "100%"):
        left = set(fleet) - taken
        taken |= set(choose("r-1", size, fleet=fleet, taken=taken, candidates=left))
    assert taken == set(fleet)


def test_another_rollout_begins_with_other_devices() -> None:
    fleet = {f"d-{number}": "pi-4" for number in range(1000)}
    first = {choose(f"r-{k}", "1", fleet=fleet, taken=(), candidates=fleet) for k in range(50)}
    assert len(first) > 40


def test_a_count_takes_one_of_each_class_before_a_second_of_any() -> None:
    fleet = {f"d-{number}": "pi-4" for number in range(100)} | {"lone": "jetson"}
    assert "lone" in choose("r-1", "2", fleet=fleet, taken=(), candidates=fleet)
