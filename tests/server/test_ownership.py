"""Devices are shared out among replicas, and only a lost replica's devices change hands."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from secateur_server.core.ownership import owner_of

names = st.lists(st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True), min_size=1, unique=True)
DEVICES = [f"d-{number}" for number in range(200)]


@given(names, st.randoms())
def test_every_replica_computes_the_same_owner(replicas: list[str], chance: object) -> None:
    shuffled = sorted(replicas, key=lambda name: hash((name, id(chance))))
    for device in DEVICES[:20]:
        owner = owner_of(device, replicas)
        assert owner in replicas
        assert owner == owner_of(device, shuffled)


@given(names.filter(lambda found: len(found) > 1))
def test_when_a_replica_goes_only_its_own_devices_change_hands(replicas: list[str]) -> None:
    gone, left = replicas[0], replicas[1:]
    for device in DEVICES:
        before = owner_of(device, replicas)
        if before != gone:
            assert owner_of(device, left) == before


def test_no_replica_owns_nothing() -> None:
    assert owner_of("d", []) is None


def test_devices_are_shared_out_evenly() -> None:
    replicas = ["a", "b", "c", "d"]
    shares = Counter(owner_of(f"d-{number}", replicas) for number in range(8000))
    assert all(1700 < shares[replica] < 2300 for replica in replicas)
