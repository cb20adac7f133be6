"""The broker as it is deployed: our configuration and access list, certificates, passwords."""

import contextlib
import datetime as dt
import os
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from secateur_server.adapters.embedded_broker import find_mosquitto
from secateur_server.adapters.files import write_atomically
from secateur_server.enrolment.authority import FleetAuthority, Issued
from support.waiting import wait_until

DEPLOYED = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto"
INSTALLED = "/etc/mosquitto/secateur/"
PASSWORD = "a password of tests"  # noqa: S105 - of nothing real
USERS = ("_coordinator", "_operator", "_viewer")
WAIT_S = 30.0


class SecuredBroker:
    """A Mosquitto on free ports of this machine, and the authority of its fleet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = FleetAuthority.create(folder / "ca", now=now())
        self.device_port, self.password_port = _free_port(), _free_port()
        self._files = folder / "etc"
        self._process: subprocess.Popen[bytes] | None = None
        self._write_files()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        program = find_mosquitto()
        assert program is not None
        self._process = subprocess.Popen([program, "-c", str(self._files / "mosquitto.conf")])
        wait_until(lambda: all(map(_listens, (self.device_port, self.password_port))))

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(WAIT_S)

    def revoke(self, device: str) -> None:
        """Do as an operator: revoke, copy the list, restart the broker."""
        self.authority.revoke(device, now=now())
        shutil.copy(self.authority.revocations_path, self._files / "fleet-ca.crl")
        self.stop()
        self.start()

    def device(self, name: str, **kwargs: str) -> "Client":
        """Connect with a new certificate of this name."""
        return self.with_certificate(self.authority.enroll(name, now=now()), **kwargs)

    def with_certificate(self, issued: Issued, *, client_id: str = "") -> "Client":
        context = self.context()
        # The standard library reads certificates from files alone.
        chain = self.folder / f"chain-{time.monotonic_ns()}.pem"
        chain.write_bytes((issued.key or b"") + issued.certificate)
        context.load_cert_chain(chain)
        return Client(self.device_port, context, client_id=client_id)

    def user(self, name: str, password: str = PASSWORD, *, client_id: str = "") -> "Client":
        return Client(
            self.password_port, self.context(), client_id=client_id, login=(name, password)
        )

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.certificate_path))

    def _write_files(self) -> None:
        self._files.mkdir()
        text = (DEPLOYED / "secateur.conf").read_text()
        for was, port in ((8883, self.device_port), (8884, self.password_port)):
            text = text.replace(f"listener {was}", f"listener {port} 127.0.0.1")
        text = text.replace(INSTALLED, f"{self._files}/")
        more = f"persistence_location {self._files}/\nlog_dest none\n"
        if os.geteuid() == 0:
            more += "user root\n"  # else it could not read this test's folder
        (self._files / "mosquitto.conf").write_text(text + more)
        shutil.copy(DEPLOYED / "secateur.acl", self._files)
        for user in USERS:
            flags = ["-b"] if (self._files / "passwords").exists() else ["-c", "-b"]
            command = [
                "mosquitto_passwd",
                *flags,
                str(self._files / "passwords"),
                user,
                PASSWORD,
            ]
            subprocess.run(command, check=True, timeout=WAIT_S)
        server = self.authority.certify_server(["127.0.0.1", "localhost"], now=now())
        assert server.key is not None
        write_atomically(self._files / "broker.key", server.key)
        write_atomically(self._files / "broker.crt", server.certificate)
        for path in (self.authority.certificate_path, self.authority.revocations_path):
            shutil.copy(path, self._files)


class Client:
    """One MQTT client of either kind; ``heard`` is what was delivered to it."""

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        *,
        client_id: str,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.lost = 0
        self._answers: list[bool] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        self._client.tls_set_context(context)
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.on_connect = lambda _c, _u, _f, code, _p: self._answers.append(
            not code.is_failure
        )
        self._client.on_message = lambda _c, _u, m: self.heard.append(
            (m.topic, bytes(m.payload))
        )
        self._client.on_disconnect = lambda *_: self._end()
        self._port = port

    def __enter__(self) -> Self:
        assert self.connect(), "the broker refuses"
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> bool:
        """Try once; say whether the broker takes us. One that is refused is closed."""
        try:
            self._client.connect("127.0.0.1", self._port)
        except OSError:
            return False
        self._client.loop_start()
        wait_until(lambda: bool(self._answers))
        if not self._answers[0]:
            self.close()
        return self._answers[0]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._client.disconnect()
        self._client.loop_stop()

    def subscribe(self, *topics: str) -> None:
        """Ask, and wait for the answer, which may promise what is then withheld."""
        answered: list[int] = []
        self._client.on_subscribe = lambda *_: answered.append(1)
        self._client.subscribe([(topic, 1) for topic in topics])
        wait_until(lambda: bool(answered))

    def publish(self, topic: str, payload: bytes = b"{}", *, retain: bool = False) -> None:
        """Send, and wait for the acknowledgement, which says nothing of a delivery."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def _end(self) -> None:
        # A broker may end the connection without a word on what it did not like.
        self._answers.append(False)
        self.lost += 1


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
