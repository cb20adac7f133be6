"""When what is known goes into the database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur_server.adapters.store import Store, sqlite_url
from secateur_server.coordinator.replicas import Alone
from secateur_server.coordinator.saving import MAX_ROWS, SAVE_S, Saver
from secateur_server.core.fleet import DeviceState, hear
from support.situations import make_info, make_ladder, make_measured, make_telemetry


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(sqlite_url(tmp_path / "t.sqlite"), "default")
    yield opened
    opened.close()


def test_telemetry_is_saved_when_it_is_due_and_news_at_once(store: Store) -> None:
    state = hear(DeviceState("a"), make_info())
    devices = {"a": state, "b": state._replace(device="b")}
    saver = Saver(store, devices, Alone())
    saver.note_said("a", 0.0, is_news=True)
    saver.note_said("b", 0.0, is_news=False)
    saver.save_due(1.0)
    assert set(store.load_devices()) == {"a"}
    saver.save_due(SAVE_S)
    assert set(store.load_devices()) == {"a", "b"}


def test_a_large_fleet_is_saved_in_turns_and_as_it_is_then(store: Store) -> None:
    count = 2 * MAX_ROWS + 1
    devices = {f"d-{number}": DeviceState(f"d-{number}") for number in range(count)}
    saver = Saver(store, devices, Alone())
    for device in devices:
        saver.note_said(device, 0.0, is_news=False)
    saver.save_due(SAVE_S)
    assert len(store.load_devices()) == MAX_ROWS
    assert saver.is_behind
    measured = make_measured(make_ladder(), 1, [3.0])
    last = f"d-{count - 1}"
    devices[last] = hear(devices[last], make_telemetry(measured, sequence=9))
    saver.save_due(SAVE_S)
    saver.save_due(SAVE_S)
    assert store.load_devices() == devices
    assert not saver.is_behind


def test_a_forgotten_device_is_not_saved_and_holds_nobody_up(store: Store) -> None:
    devices = {"a": DeviceState("a"), "b": DeviceState("b")}
    saver = Saver(store, devices, Alone())
    for device in ("a", "b"):
        saver.note_said(device, 0.0, is_news=True)
    del devices["a"]
    saver.save_due(0.0)
    assert set(store.load_devices()) == {"b"}
