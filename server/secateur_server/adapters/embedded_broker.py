"""A broker of our own for demos and small fleets, in a process of its own.

Mosquitto where it is installed, else amqtt from PyPI with the mend of `amqtt_broker`.
Real fleets run a broker that they manage themselves.
"""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from secateur_server.errors import ServerError

START_S = 15.0
"""How long the broker may take to accept a connection, seconds; amqtt needs 0.25."""

MOSQUITTO_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 100000
persistence true
persistence_location {folder}/
autosave_interval 1
log_dest none
"""
"""`set_tcp_nodelay`: a request and its answer take 40 ms without. `max_queued_messages`: the
default of 1,000 drops retained messages of larger fleets. Loopback only, hence anonymous."""


class EmbeddedBroker:
    """One running broker on a loopback port."""

    def __init__(self, folder: Path, port: int = 0, *, prefer_amqtt: bool = False) -> None:
        """Start it and wait until it accepts a connection.

        Args:
            folder: Where its configuration and retained messages live.
            port: On 127.0.0.1; 0 takes a free one.
            prefer_amqtt: Take amqtt also where Mosquitto is installed.

        Raises:
            ServerError: It did not start; nothing is left running.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or _free_port()
        mosquitto = None if prefer_amqtt else find_mosquitto()
        self.name = "mosquitto" if mosquitto else "amqtt"
        command = (
            _mosquitto_command(mosquitto, folder, self.port)
            if mosquitto
            else [sys.executable, "-P", "-m", _AMQTT_MODULE, str(self.port)]
        )
        # The child ends when this pipe does: no orphan keeps the port.
        self._child = subprocess.Popen(  # noqa: S603 - a broker we found or ship
            [sys.executable, "-P", "-m", _KEEPER_MODULE, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait()
        except ServerError:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"mqtt://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it; retained messages of Mosquitto stay in the folder."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(10.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                raise ServerError(f"the embedded broker ({self.name}) ended at once")
            if accepts_connections("127.0.0.1", self.port):
                return
            time.sleep(0.05)
        raise ServerError(f"the embedded broker ({self.name}) did not start in {START_S:.0f} s")


_AMQTT_MODULE = "secateur_server.adapters.amqtt_broker"
_KEEPER_MODULE = "secateur_server.adapters.keeper"


def find_mosquitto() -> str | None:
    """Find the program; Debian puts it where only root's PATH looks."""
    return shutil.which("mosquitto") or shutil.which(
        "mosquitto", path="/usr/sbin:/usr/local/sbin"
    )


def accepts_connections(host: str, port: int) -> bool:
    """Try one MQTT connection, up to its CONNACK."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    accepted: list[bool] = []
    client.on_connect = lambda _c, _u, _f, code, _p: accepted.append(not code.is_failure)
    try:
        client.connect(host, port, keepalive=10)
        deadline = time.monotonic() + 2.0
        while not accepted and time.monotonic() < deadline:
            client.loop(timeout=0.1)
        client.disconnect()
    except OSError:
        return False
    return bool(accepted and accepted[0])


def _mosquitto_command(program: str, folder: Path, port: int) -> list[str]:
    path = folder / "mosquitto.conf"
    path.write_text(MOSQUITTO_CONFIG.format(port=port, folder=folder.resolve()))
    return [program, "-c", str(path)]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
