"""A coordinator that was killed comes back to where it was (rules W4, W8)."""

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from secateur_protocols.codec import encode
from secateur_protocols.control import PolicyChange, SetPolicy, ShowStatus
from secateur_protocols.manifest import Ladder
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Reported
from secateur_protocols.topics import Leaf, device_topic
from secateur_server.adapters.broker import Broker
from secateur_server.adapters.embedded_broker import (
    EmbeddedBroker,
    accepts_connections,
    find_mosquitto,
)
from secateur_server.adapters.operator import OperatorClient
from secateur_server.adapters.store import Store, sqlite_url
from secateur_server.core.fleet import DeviceState
from secateur_server.core.policy import Scope
from secateur_server.registry.registry import Registry
from support.scripted_device import retained_topics, wait_until
from support.situations import make_info, make_measured, make_telemetry, write_ladder_dir

pytestmark = [pytest.mark.broker, pytest.mark.slow]

Serve = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def serve(tmp_path: Path, ladder: Ladder) -> Iterator[Serve]:
    """Start ``secateur serve`` on a broker, again and again on the same data."""
    Registry(tmp_path / "data" / "registry").publish(write_ladder_dir(tmp_path / "l", ladder))
    started: list[subprocess.Popen[bytes]] = []

    def start(broker_url: str, database_url: str | None = None) -> "subprocess.Popen[bytes]":
        ready = tmp_path / f"ready-{len(started)}.json"
        command = [sys.executable, "-m", "secateur_server", "serve", "--broker", broker_url]
        command += ["--data", str(tmp_path / "data"), "--http-port", "0"]
        command += ["--ready-file", str(ready)]
        command += [] if database_url is None else ["--database", database_url]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        started.append(process)
        wait_until(lambda: ready.exists() or process.poll() is not None, timeout_s=60.0)
        assert process.poll() is None, "serve ended"
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.wait(60.0)


class Speaker:
    """Says alternately good and late telemetry for many devices, as fast as it may."""

    def __init__(self, broker_url: str, ladder: Ladder, count: int) -> None:
        self._ladder = ladder
        self._names = [f"d-{number}" for number in range(count)]
        self._broker = Broker(broker_url, subscriptions=[], on_message=lambda _: None)
        self._broker.start()
        self._is_over = threading.Event()
        self._sequence = 0
        for name in self._names:
            info = encode(make_info(deadline_ms=20.0))
            self._broker.publish(
                device_topic("default", name, Leaf.INFO), info, is_retained=True
            )

    def speak(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            level, p95_ms = ((3, 2.0), (0, 90.0))[self._sequence % 2]
            measured = make_measured(self._ladder, level, [p95_ms] * 4, deadline_ms=20.0)
            telemetry = encode(make_telemetry(measured, sequence=self._sequence))
            self._sequence += 1
            for name in self._names:
                topic = device_topic("default", name, Leaf.TELEMETRY)
                self._broker.publish(topic, telemetry, qos=0)
            time.sleep(0.005)

    def close(self) -> None:
        self._broker.stop()


def retained_revisions(broker_url: str) -> dict[str, int]:
    kept = retained_topics(broker_url, device_topic("default", "+", Leaf.DESIRED))
    return {topic.split("/")[3]: int(str(each["revision"])) for topic, each in kept.items()}


@contextmanager
def opened(database_url: str) -> Iterator[Store]:
    store = Store(database_url, "default")
    yield store
    store.close()


def stored_revisions(database_url: str) -> dict[str, int]:
    with opened(database_url) as store:
        return {
            name: state.desired.revision
            for name, state in store.load_devices().items()
            if state.desired
        }


def test_after_a_kill_under_load_database_and_retained_messages_agree_again(
    mosquitto: EmbeddedBroker, database_url: str, ladder: Ladder, serve: Serve
) -> None:
    """Nothing is said before it is saved, and what an operator was told is set stays set."""
    speaker = Speaker(mosquitto.url, ladder, 30)
    chance = random.Random(7)
    revisions: dict[str, int] = {}
    operator = OperatorClient(mosquitto.url, "default")
    for patience in (1, 2, 4):
        process = serve(mosquitto.url, database_url)
        speaker.speak(chance.uniform(1.0, 2.0))
        change = PolicyChange(patience=patience)
        operator.request(SetPolicy(device="d-0", change=change), timeout_s=60.0)
        process.send_signal(signal.SIGKILL)
        process.wait(30.0)
        with opened(database_url) as store:
            policies = store.load_policies()
        assert policies.rules[Scope("d-0")].change == change
        stored, retained = stored_revisions(database_url), retained_revisions(mosquitto.url)
        assert set(retained) <= set(stored)
        for name, revision in retained.items():
            assert revision <= stored[name], "said before it was saved"
            assert stored[name] >= revisions.get(name, 0), "taken back"
        revisions = stored
    assert len(revisions) == 30
    assert max(revisions.values()) > 5, "there was no load"
    serve(mosquitto.url, database_url)
    wait_until(lambda: retained_revisions(mosquitto.url) == stored_revisions(database_url))
    with opened(database_url) as store:
        found = wait_until(lambda: all_heard(store.load_devices()))
    assert set(found) == set(revisions)
    operator.close()
    speaker.close()


def all_heard(devices: dict[str, DeviceState]) -> dict[str, DeviceState] | None:
    """Give them once of each is known what it is and what was desired of it last."""
    are_known = all(each.info and each.desired for each in devices.values())
    return devices if are_known else None


@pytest.fixture
def plain_mosquitto(tmp_path: Path) -> Iterator[str]:
    """Run a Mosquitto with its default settings: it queues 1,000 messages for a client."""
    program = find_mosquitto()
    if program is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = tmp_path / "plain.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest none\n")
    process = subprocess.Popen([program, "-c", str(config)])
    wait_until(lambda: accepts_connections("127.0.0.1", port))
    yield f"mqtt://127.0.0.1:{port}"
    process.terminate()
    process.wait(30.0)


def test_w8_a_restarted_coordinator_finds_all_of_10_000_devices(
    plain_mosquitto: str, tmp_path: Path, serve: Serve
) -> None:
    """They slept while it was gone: all it has is their names, and retained messages."""
    count = 10_000
    names = [f"d-{number}" for number in range(count)]
    database_url = sqlite_url(tmp_path / "data" / "secateur.sqlite")
    with opened(database_url) as store:
        store.save_devices(DeviceState(name) for name in names)
    speaker = Broker(plain_mosquitto, subscriptions=[], on_message=lambda _: None)
    speaker.start()
    said = {
        Leaf.PRESENCE: encode(Presence(state=PresenceState.SLEEPING, boot=1, session=1)),
        Leaf.INFO: encode(make_info()),
        Leaf.REPORTED: encode(Reported(boot=1, sequence=0, revision=0, models=())),
    }
    for name in names:
        for leaf, payload in said.items():
            topic = device_topic("default", name, leaf)
            speaker.publish(topic, payload, is_retained=True)
    speaker._client.publish("the-last-one", b"", qos=1).wait_for_publish(120.0)
    speaker.stop()
    serve(plain_mosquitto)
    operator = OperatorClient(plain_mosquitto, "default")

    def is_complete() -> bool:
        status = operator.request(ShowStatus(), timeout_s=60.0).result
        assert isinstance(status, dict)
        return (
            status["missing"] == 0
            and status["silent"] == 0
            and status["presence"] == {"sleeping": count}
        )

    wait_until(is_complete, timeout_s=200.0)
    operator.close()
    wait_until(lambda: len(stored_revisions(database_url)) == count)
