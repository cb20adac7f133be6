"""What is known of a device does not depend on how its messages travelled (rules W3, W4)."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Reported
from secateur_server.core.fleet import DeviceState, Said, hear
from support.situations import make_info, make_telemetry

orders = st.tuples(st.integers(1, 3), st.integers(0, 4))
births = st.builds(
    lambda order: Presence(state=PresenceState.ONLINE, boot=order[0], session=order[1]), orders
)
said: st.SearchStrategy[Said] = st.one_of(
    births,
    st.builds(lambda boot: make_info(boot=boot), st.integers(1, 3)),
    st.builds(lambda order: make_telemetry(boot=order[0], sequence=order[1]), orders),
    st.builds(
        lambda order: Reported(boot=order[0], sequence=order[1], revision=0, models=()), orders
    ),
)


def fold(history: Sequence[Said]) -> DeviceState:
    state = DeviceState("d")
    for message in history:
        state = hear(state, message)
    return state


@given(st.lists(said, max_size=12), st.randoms())
def test_w4_reordered_and_doubled_messages_change_nothing(
    history: list[Said], chance: st.DataObject
) -> None:
    doubled = history + history
    chance.shuffle(doubled)  # type: ignore[attr-defined] # hypothesis gives a Random
    assert fold(doubled) == fold(history)


@given(st.lists(said, max_size=12), said)
def test_w4_a_message_heard_before_changes_nothing(history: list[Said], late: Said) -> None:
    state = fold([*history, late])
    assert hear(state, late) == state


@given(orders, orders)
def test_w3_a_last_will_of_an_older_session_is_ignored(
    now: tuple[int, int], will: tuple[int, int]
) -> None:
    online = Presence(state=PresenceState.ONLINE, boot=now[0], session=now[1])
    death = Presence(state=PresenceState.OFFLINE, boot=will[0], session=will[1])
    after = fold([online, death])
    assert after.presence == (online if will < now else death)


def test_w3_crashed_and_stopped_can_be_told_apart() -> None:
    birth = Presence(state=PresenceState.ONLINE, boot=1, session=1)
    for end in (PresenceState.STOPPED, PresenceState.OFFLINE):
        after = fold([birth, Presence(state=end, boot=1, session=1)])
        assert after.presence is not None
        assert after.presence.state is end
