"""What is recorded of telemetry has bounds."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from secateur_server.dashboard.recording import Recording

said = st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=12)), max_size=60)


@given(said)
def test_it_never_holds_more_than_it_may_and_lets_go_of_the_oldest(
    messages: list[tuple[str, bytes]],
) -> None:
    recording = Recording(max_bytes=50, max_per_device=6)
    everything = defaultdict[str, list[bytes]](list)
    for place, (device, payload) in enumerate(messages):
        recording.add(device, payload, float(place))
        everything[device].append(payload)
        kept = {name: recording.of(name) for name in "abc"}
        assert recording.held_bytes == sum(len(x.payload) for k in kept.values() for x in k)
        assert recording.held_bytes <= 50
        for name, of_device in kept.items():
            assert len(of_device) <= 6
            payloads = [each.payload for each in of_device]
            assert payloads == everything[name][len(everything[name]) - len(payloads) :]


def test_devices_that_all_speak_have_histories_of_equal_length() -> None:
    recording = Recording(max_bytes=400, max_per_device=1000)
    for place in range(500):
        recording.add(f"d-{place % 10}", b"four", float(place))
    assert {len(recording.of(name)) for name in recording.devices()} == {10}


def test_what_is_forgotten_takes_no_room() -> None:
    recording = Recording()
    recording.add("a", b"x" * 100, 0.0)
    recording.forget("a")
    recording.forget("b")
    assert recording.held_bytes == 0
    assert recording.of("a") == []
