"""What a coordinator's metrics say, read from a running one as Prometheus reads them."""

import urllib.request
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from secateur_protocols.manifest import Ladder
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.telemetry import Resources
from secateur_protocols.topics import Leaf
from secateur_server.coordinator.metrics import add_up
from secateur_server.core.fleet import DeviceState
from support.coordinators import Served
from support.scripted_device import ScriptedDevice, wait_until
from support.situations import make_info, make_ladder, make_measured, make_telemetry

LADDER = make_ladder()


def stands(number: int, p95_ms: float, heat_c: float | None, *, is_slow: bool) -> DeviceState:
    measured = make_measured(LADDER, 0, [p95_ms])
    resources = Resources(temperature_c=heat_c, throttled=is_slow)
    telemetry = make_telemetry(measured, resources=resources)
    presence = Presence(state=PresenceState.ONLINE, boot=1, session=1)
    return DeviceState(f"meter-{number}", presence=presence, telemetry=telemetry)


devices = st.lists(
    st.builds(
        stands,
        st.integers(0, 99),
        st.floats(0.1, 99.0),
        st.none() | st.floats(-40.0, 120.0),
        is_slow=st.booleans(),
    ),
    max_size=30,
)


@given(devices)
def test_a_fleet_is_the_sum_of_its_devices(fleet: list[DeviceState]) -> None:
    total = add_up(fleet)
    assert sum(total.presences.values()) == len(fleet)
    late = throttled = 0
    heats = list[float]()
    for each in fleet:
        assert each.telemetry is not None
        late += (each.telemetry.models[0].p95_ms or 0.0) > each.telemetry.models[0].deadline_ms
        throttled += bool(each.telemetry.resources.throttled)
        if each.telemetry.resources.temperature_c is not None:
            heats.append(each.telemetry.resources.temperature_c)
    assert (total.models["digits"].late if fleet else 0) == late
    assert total.throttled == throttled
    assert total.hottest_c == (max(heats) if heats else None)


def test_a_fleet_at_the_freezing_point_is_not_colder_than_its_hottest_device() -> None:
    fleet = [stands(1, 1.0, 0.0, is_slow=False), stands(2, 1.0, -5.0, is_slow=False)]
    assert add_up(fleet).hottest_c == 0.0


def test_a_device_of_which_nothing_is_known_is_counted_as_unknown() -> None:
    assert add_up([DeviceState("meter-1")]).presences == {"unknown": 1}


@pytest.fixture
def late_device(served: Served, ladder: Ladder) -> Iterator[ScriptedDevice]:
    """A device whose answers come too late, and which throttles."""
    speaker = ScriptedDevice(served.broker_url, "meter-7", make_info(deadline_ms=20.0))
    speaker.birth()
    resources = Resources(temperature_c=81.5, throttled=True)
    measured = make_measured(ladder, 0, [35.0], deadline_ms=20.0)
    speaker.say(Leaf.TELEMETRY, make_telemetry(measured, resources=resources))
    speaker.next_desired()
    yield speaker
    speaker.close()


def scrape(served: Served) -> dict[tuple[str, ...], float]:
    url = served.artifacts_url.removesuffix("/blobs") + "/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own server
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.broker
@pytest.mark.usefixtures("late_device")
def test_a_running_coordinator_tells_how_its_fleet_does(served: Served) -> None:
    wait_until(lambda: scrape(served).get(("secateur_devices_late", "digits")) == 1)
    found = scrape(served)
    assert found["secateur_devices", "online"] == 1
    assert found["secateur_devices", "offline"] == 0
    assert found["secateur_devices_throttled",] == 1
    assert found["secateur_devices_hottest_celsius",] == 81.5
    assert found["secateur_frames_answered", "digits"] == 100
    assert found["secateur_messages_total", "heard"] >= 3
    assert found["secateur_messages_total", "malformed"] == 0
    assert found["secateur_rollouts", "halted"] == 0
    assert found["process_resident_memory_bytes",] > 10_000_000
    assert not any("meter-7" in label for labels in found for label in labels)
