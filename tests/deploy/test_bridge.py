"""A site's broker bridged to a central one, at which its coordinator is."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from secateur_protocols.codec import encode
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.topics import Leaf, device_topic
from secateur_server.adapters.broker import Broker, Received, Subscription
from secateur_server.adapters.embedded_broker import EmbeddedBroker, find_mosquitto
from support.coordinators import RunningCoordinator
from support.scripted_device import ScriptedDevice, wait_until
from support.secured_broker import DEPLOYED, _free_port, _listens
from support.situations import make_info, make_ladder, write_ladder_dir

pytestmark = pytest.mark.broker

SITE = "default"
OF_TLS = ("bridge_cafile", "remote_username", "remote_password")
"""Lines that the central broker of this test, on loopback, has no use for."""


class SiteBroker:
    """A Mosquitto with our bridge to a central one."""

    def __init__(self, folder: Path, central: EmbeddedBroker) -> None:
        program = find_mosquitto()
        if program is None:
            pytest.skip("mosquitto is not installed: apt install mosquitto")
        self.port = _free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        bridge = (DEPLOYED / "bridge.conf").read_text().replace("SITE", SITE)
        bridge = bridge.replace("central.example:8884", f"127.0.0.1:{central.port}")
        lines = [line for line in bridge.splitlines() if not line.startswith(OF_TLS)]
        lines += [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "log_dest none"]
        folder.mkdir()
        config = folder / "mosquitto.conf"
        config.write_text("\n".join(lines).replace("restart_timeout 5 60", "restart_timeout 1"))
        self._process = subprocess.Popen([program, "-c", str(config)])
        wait_until(lambda: _listens(self.port))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30.0)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def watch(url: str, topic: str, stack: ExitStack) -> Callable[[], list[bytes]]:
    came: list[bytes] = []

    def keep(received: Received) -> None:
        came.append(received.payload)

    client = Broker(url, subscriptions=[Subscription(topic)], on_message=keep)
    client.start()
    stack.callback(client.stop)
    return lambda: came


def test_a_device_at_a_site_is_coordinated_from_the_central_broker(
    mosquitto: EmbeddedBroker, tmp_path: Path, stack: ExitStack
) -> None:
    site = SiteBroker(tmp_path / "site", mosquitto)
    stack.callback(site.stop)
    coordinator = RunningCoordinator(mosquitto.url, tmp_path / "coordinator")
    coordinator.registry.publish(write_ladder_dir(tmp_path / "ladder", make_ladder()))
    coordinator.start()
    stack.callback(coordinator.stop)
    device = ScriptedDevice(site.url, "meter-7", make_info(deadline_ms=20.0))
    stack.callback(device.close)
    device.birth()
    assert device.next_desired().models[0].model == "digits"


def test_each_message_passes_once_and_nothing_of_another_site_does(
    mosquitto: EmbeddedBroker, tmp_path: Path, stack: ExitStack
) -> None:
    site = SiteBroker(tmp_path / "site", mosquitto)
    stack.callback(site.stop)
    here = device_topic(SITE, "meter-7", Leaf.PRESENCE)
    there = device_topic("elsewhere", "meter-7", Leaf.PRESENCE)
    central, elsewhere = watch(mosquitto.url, here, stack), watch(mosquitto.url, there, stack)
    at_home = watch(site.url, here, stack)
    speaker = Broker(site.url, subscriptions=[], on_message=lambda _: None)
    speaker.start()
    stack.callback(speaker.stop)
    probe = device_topic(SITE, "probe", Leaf.PRESENCE)
    probes = watch(mosquitto.url, probe, stack)

    def passes() -> bool:
        speaker.publish(probe, b"{}")
        time.sleep(0.1)
        return bool(probes())

    wait_until(passes)  # the bridge is up
    said = [encode(Presence(state=PresenceState.ONLINE, boot=n, session=1)) for n in range(20)]
    for payload in said:
        speaker.publish(here, payload)
        speaker.publish(there, payload)
    wait_until(lambda: len(central()) >= len(said) and len(at_home()) >= len(said))
    assert central() == said
    assert at_home() == said
    assert elsewhere() == []
