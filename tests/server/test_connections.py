"""Connections: no delay for small packets, few file descriptors, and back after an outage."""

import http.client
import os
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from secateur_protocols.topics import coordinator_status
from secateur_server.adapters.broker import Broker
from secateur_server.adapters.embedded_broker import EmbeddedBroker, find_mosquitto
from support.coordinators import RunningCoordinator, Served
from support.scripted_device import retained_topics, wait_until

pytestmark = pytest.mark.broker


def test_small_packets_are_sent_without_delay(mosquitto: EmbeddedBroker) -> None:
    client = Broker(mosquitto.url, subscriptions=[], on_message=lambda _: None)
    client.start()
    connection = client._client.socket()
    assert connection is not None
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    client.stop()


@pytest.mark.slow
def test_a_process_with_an_mqtt_client_stays_below_1_000_descriptors(served: Served) -> None:
    """However many devices fetch at once: select() cannot see a descriptor above 1,023."""
    (listening,) = (
        each.laddr.port
        for each in psutil.Process(served.process.pid).net_connections()
        if each.status == psutil.CONN_LISTEN
    )
    waiting = []
    for _ in range(900):
        connection = http.client.HTTPConnection("127.0.0.1", listening, timeout=10)
        try:
            connection.request("GET", f"/blobs/{'0' * 64}")
            connection.getresponse().read()
        except OSError:
            connection.close()
        waiting.append(connection)
    assert psutil.Process(served.process.pid).num_fds() < 1000
    assert served.run("status").returncode == 0
    for connection in waiting:
        connection.close()


@pytest.mark.slow
def test_a_coordinator_comes_back_after_its_broker_was_away(
    coordinator: RunningCoordinator, mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    mosquitto.stop()
    time.sleep(1.0)
    program = find_mosquitto()
    assert program is not None
    config = tmp_path / "again.conf"
    config.write_text(f"listener {mosquitto.port} 127.0.0.1\nallow_anonymous true\n")
    again = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
    topic = coordinator_status("default")

    def is_back() -> bool:
        try:
            found = retained_topics(coordinator.broker_url, topic)
        except Exception:  # noqa: BLE001 - the broker is not up yet
            return False
        return found.get(topic, {}).get("state") == "online"

    wait_until(is_back, timeout_s=60.0)
    again.terminate()
    again.wait(30.0)
