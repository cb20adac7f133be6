"""Who is known is heard in full, whatever the broker keeps back (rule W8)."""

from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.topics import Leaf
from secateur_server.core.inventory import LEAVES, MAX_ROUNDS, Inventory

devices = st.lists(st.integers(0, 30).map(lambda n: f"d-{n}"), unique=True, max_size=20)
heard = st.lists(
    st.tuples(st.integers(0, 30).map(lambda n: f"d-{n}"), st.sampled_from(LEAVES)), max_size=60
)


@given(devices, heard, st.integers(1, 7))
def test_everybody_is_asked_for_what_was_not_heard_and_for_nothing_else(
    known: list[str], history: list[tuple[str, Leaf]], most: int
) -> None:
    inventory = Inventory()
    inventory.begin(known)
    for device, leaf in history:
        inventory.hear(device, leaf)
    asked: set[tuple[str, Leaf]] = set()
    for _ in range(-(-len(known) // most)):
        asked |= set(inventory.next_round(most))
    wanted = {(device, leaf) for device in known for leaf in LEAVES} - set(history)
    assert asked == wanted


@given(devices, st.integers(1, 7))
def test_who_stays_silent_is_given_up_once_and_can_still_be_heard(
    known: list[str], most: int
) -> None:
    inventory = Inventory()
    inventory.begin(known)
    silent: list[str] = []
    for _ in range((MAX_ROUNDS + 2) * (len(known) + 1)):
        inventory.next_round(most)
        silent += inventory.take_silent()
    assert sorted(silent) == sorted(known)
    assert (inventory.missing_count, inventory.silent_count) == (0, len(known))
    for device in known:
        for leaf in LEAVES:
            inventory.hear(device, leaf)
    assert inventory.silent_count == 0


def test_a_stranger_is_asked_for_once_it_was_heard_of() -> None:
    inventory = Inventory()
    inventory.expect("d")
    inventory.expect("d")
    assert inventory.next_round(9) == [("d", leaf) for leaf in LEAVES]
    inventory.forget("d")
    assert inventory.next_round(9) == []
