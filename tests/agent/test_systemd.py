"""What systemd is told, heard on a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur_agent.adapters.systemd import ServiceManager
from secateur_agent.core.telemetry import in_words


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        address = str(tmp_path / "notify")
        listener.bind(address)
        listener.settimeout(10.0)
        yield address, listener


def test_systemd_hears_how_the_service_is(listening: tuple[str, socket.socket]) -> None:
    address, listener = listening
    manager = ServiceManager.of_environment({"NOTIFY_SOCKET": address})
    manager.ready()
    manager.alive()
    manager.status("digits level 1,\np95 2 of 50 ms")
    manager.stopping()
    heard = [listener.recv(1024).decode() for _ in range(4)]
    assert heard == [
        "READY=1",
        "WATCHDOG=1",
        "STATUS=digits level 1, p95 2 of 50 ms",
        "STOPPING=1",
    ]


def test_an_abstract_address_is_one_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"secateur-test-{os.getpid()}"
        listener.bind(f"\0{name}")
        listener.settimeout(10.0)
        ServiceManager(f"@{name}", None).ready()
        assert listener.recv(1024) == b"READY=1"


def test_without_systemd_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    ServiceManager.of_environment({}).ready()
    ServiceManager.of_environment({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


@pytest.mark.parametrize(
    ("environment", "feed_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 20.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_thrice_within_its_limit(
    environment: dict[str, str], feed_s: float | None
) -> None:
    assert ServiceManager.of_environment(environment).feed_s == feed_s


def test_a_device_without_a_model_says_so() -> None:
    assert in_words(()) == "no model serves yet"
