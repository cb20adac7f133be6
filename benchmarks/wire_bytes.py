"""What one device costs on the wire in a month, telemetry profile by telemetry profile.

    python benchmarks/wire_bytes.py [--quick]

A real agent speaks MQTT over TLS with a real Mosquitto, through a proxy whose kernel counts
what passes: payload, TLS records, pings, acknowledgements, and the IP and TCP headers of every
segment. A real coordinator chooses its level. Two stretches are measured: a quiet one of an
hour (with --quick, half an hour), and one in which the device comes under pressure for three
minutes, steps down, and later goes up again. A month is all quiet with one such pressure a day.

Time is compressed: every duration of the agent that has to do with the wire (period, silence,
keep alive) is divided by the same factor, and the budget's rate is multiplied with it. The
first connection, the births and the download of the first artifacts are not in the figures.
The machine's own stalls are not compressed: the latest frame wins, so that one of them makes
one frame late and not a whole period.

Needs mosquitto and openssl. Last line: megabytes (10^6) in 30 days, both ways.
"""

import argparse
import getpass
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from secateur_agent.adapters.wire import count
from secateur_agent.core.profile import METERED, MONTH_S, NORMAL, Profile
from secateur_agent.core.telemetry import WireBytes

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits"
PERIOD_S = 10.0
KEEP_ALIVE_S = {"normal": 60.0, "metered": 600.0}
SILENCE_S = {"normal": NORMAL.silence_s, "metered": METERED.silence_s}

PRESSURE_S = 180.0
"""How long the device is under pressure, simulated seconds."""

PRESSURES_PER_MONTH = 30

CALM, PRESSED = '{"cpu_share": 0.3}', '{"cpu_share": 0.97, "slowdown_factor": 1000.0}'

START_S = 120.0

MOSQUITTO = """\
listener {plain} 127.0.0.1
listener {tls} 127.0.0.1
cafile {folder}/broker.crt
certfile {folder}/broker.crt
keyfile {folder}/broker.key
allow_anonymous true
set_tcp_nodelay true
persistence false
log_dest none
user {user}
"""

AGENT = """\
site = "bench"
device = "{profile}"
state_dir = "{folder}/{profile}"
[trust]
accept_unsigned = true

[broker]
url = "mqtts://localhost:{port}"
ca_file = "{folder}/broker.crt"
[transfer]
spread_s = 0.0

[telemetry]
period_s = {period_s}
profile = "{profile}"
[[models]]
name = "digits"
deadline_ms = 400.0
queue = 1
[models.source]
kind = "replay"
path = "{data}"
rate_hz = 100.0
[simulation]
hardware_class = "bench"
slowdown = 50.0
overrides = "{folder}/{profile}.json"
"""


class Proxy:
    """Passes one device's connections on to the broker; what passed is asked of the kernel."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def passed(self) -> WireBytes:
        """Give all that has passed the open connections."""
        counts = [count(each) or WireBytes() for each in self._connections]
        return WireBytes(sum(c.sent for c in counts), sum(c.received for c in counts))

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._connections)

    def _accept(self) -> None:
        while True:
            inner, _ = self._listener.accept()
            outer = socket.create_connection(("127.0.0.1", self._broker_port))
            self._connections.append(inner)
            for one, other in ((inner, outer), (outer, inner)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65_536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


class Heard:
    """What the devices say, heard at the broker beside the coordinator."""

    def __init__(self, port: int) -> None:
        self.messages: dict[str, int] = {}
        self.levels: dict[str, list[int]] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe("secateur/v1/bench/#")
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def wait_for(self, key: str, more: int = 1) -> None:
        """Wait for more messages with this end of topic."""
        until_s, target = time.monotonic() + START_S * 10, self.messages.get(key, 0) + more
        while self.messages.get(key, 0) < target:
            if time.monotonic() > until_s:
                raise SystemExit(f"no {key} came")
            time.sleep(0.005)

    def _on_message(self, _client: mqtt.Client, _data: object, got: mqtt.MQTTMessage) -> None:
        key = got.topic.removeprefix("secateur/v1/bench/")
        self.messages[key] = self.messages.get(key, 0) + 1
        if key.endswith("/telemetry"):
            for model in json.loads(got.payload)["models"]:
                levels = self.levels.setdefault(key, [])
                if levels[-1:] != [model["level"]]:
                    levels.append(model["level"])


def main() -> None:
    """Measure both profiles at the same time and print the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--quick", action="store_true", help="compress time more: three minutes"
    )
    parser.add_argument(
        "--agent", nargs=2, metavar=("CONFIG", "FACTOR"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.agent is not None:
        run_compressed_agent(options.agent[0], float(options.agent[1]))
    factor, span_s = (60.0, 1800.0) if options.quick else (12.0, 3600.0)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        rates = measure(Path(name), stack, factor=factor, span_s=span_s)
    print(json.dumps({f"{name}_mb_month": round(rate, 2) for name, rate in rates.items()}))


def run_compressed_agent(config: str, factor: float) -> None:
    """Be the agent, with every duration on the wire divided by ``factor``; does not return."""
    from secateur_agent import cli  # noqa: PLC0415 - this process only

    cli._PROFILES = {  # noqa: SLF001 - there is no setting for another speed of time
        name: compress(profile, factor)
        for name, profile in cli._PROFILES.items()  # noqa: SLF001
    }
    original = cli._broker_settings  # noqa: SLF001

    def compressed(settings: Any) -> Any:  # noqa: ANN401 - our own
        keep_alive_s = KEEP_ALIVE_S[settings.telemetry.profile] / factor
        return original(settings).model_copy(update={"keep_alive_s": round(keep_alive_s)})

    cli._broker_settings = compressed  # noqa: SLF001
    sys.exit(cli.main(["run", "--config", config]))


def compress(profile: Profile, factor: float) -> Profile:
    """Let silences be shorter and bytes flow in faster; the bucket holds what it held."""
    bucket = profile.burst_bytes
    month_bytes = profile.bytes_per_s * factor * MONTH_S + 4 * bucket
    return replace(
        profile,
        silence_s=profile.silence_s / factor,
        longest_silence_s=profile.longest_silence_s / factor,
        month_bytes=month_bytes,
        burst_ratio=bucket / month_bytes,
    )


def measure(
    folder: Path, stack: ExitStack, *, factor: float, span_s: float
) -> dict[str, float]:
    """Give megabytes per month, by profile."""
    plain, tls = free_port(), free_port()
    make_certificate(folder)
    (folder / "m.conf").write_text(
        MOSQUITTO.format(plain=plain, tls=tls, folder=folder, user=getpass.getuser())
    )
    start(stack, [find("mosquitto"), "-c", str(folder / "m.conf")])
    wait_for_port(plain)
    publish(folder)
    url = f"mqtt://127.0.0.1:{plain}"
    serve = ["-m", "secateur_server", "serve", "--site", "bench", "--broker", url]
    serve += ["--data", str(folder / "server"), "--http-port", "0"]
    start(stack, [sys.executable, *serve])
    heard = Heard(plain)
    proxies = {}
    for profile in KEEP_ALIVE_S:
        proxies[profile] = Proxy(tls)
        (folder / f"{profile}.json").write_text(CALM)
        config = folder / f"{profile}.toml"
        config.write_text(
            AGENT.format(
                folder=folder,
                profile=profile,
                port=proxies[profile].port,
                data=DIGITS / "evaluation.npz",
                period_s=PERIOD_S / factor,
            )
        )
        start(stack, [sys.executable, __file__, "--agent", str(config), str(factor)])
    rates: dict[str, float] = {}

    def watch(profile: str) -> None:
        device = Device(profile, folder / f"{profile}.json", proxies[profile], heard)
        rates[profile] = device.measure(factor, span_s)

    threads = [threading.Thread(target=watch, args=(profile,)) for profile in proxies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {profile: rates[profile] for profile in KEEP_ALIVE_S}


@dataclass(frozen=True)
class Device:
    """One agent under measurement."""

    profile: str
    pressure_path: Path
    proxy: Proxy
    heard: Heard

    def measure(self, factor: float, span_s: float) -> float:
        """Give megabytes per month."""
        self._settle(factor)
        connections = self.proxy.connections
        rate = self._quiet(factor, span_s)
        pressure = self._pressure(factor, rate)
        if self.proxy.connections != connections:
            raise SystemExit(f"{self.profile}: the connection broke: no figure")
        return (rate * MONTH_S + pressure * PRESSURES_PER_MONTH) / 1e6

    def _quiet(self, factor: float, span_s: float) -> float:
        """Give bytes per simulated second, from one telemetry message to another."""
        before, messages = self.proxy.passed().total, self._messages()
        began_s = time.monotonic()
        time.sleep(span_s / factor)
        self.heard.wait_for(self._topic)
        simulated_s = (time.monotonic() - began_s) * factor
        used = self.proxy.passed().total - before
        said = self._messages() - messages
        month_mb = used / simulated_s * MONTH_S / 1e6
        print(
            f"{self.profile}: quiet, {used} bytes and {said} telemetry messages in "
            f"{simulated_s:.0f} simulated s: {month_mb:.2f} MB a month",
            flush=True,
        )
        return used / simulated_s

    def _pressure(self, factor: float, rate: float) -> float:
        """Give what one pressure costs beyond the quiet rate, bytes."""
        before, messages, levels = self.proxy.passed().total, self._messages(), self._levels()
        began_s = time.monotonic()
        self.pressure_path.write_text(PRESSED)
        time.sleep(PRESSURE_S / factor)
        until_s = time.monotonic() + START_S
        while len(self._levels()) == len(levels) and time.monotonic() < until_s:
            time.sleep(0.05)
        self.pressure_path.write_text(CALM)
        self._settle(factor)
        used = self.proxy.passed().total - before
        beyond = used - rate * factor * (time.monotonic() - began_s)
        print(
            f"{self.profile}: one pressure, {beyond:.0f} bytes beyond that and "
            f"{self._messages() - messages} telemetry messages, levels "
            f"{self._levels()[len(levels) - 1 :]}",
            flush=True,
        )
        return max(0.0, beyond)

    @property
    def _topic(self) -> str:
        return f"{self.profile}/telemetry"

    def _messages(self) -> int:
        return self.heard.messages.get(self._topic, 0)

    def _levels(self) -> list[int]:
        return list(self.heard.levels.get(self._topic, []))

    def _settle(self, factor: float) -> None:
        """Wait until the level has not changed for longer than the device may be silent.

        The coordinator's patience counts messages: one that is not sent cannot change its mind.
        """
        calm_s = 1.2 * SILENCE_S[self.profile] / factor
        until_s = time.monotonic() + START_S + 6 * calm_s
        levels, changed_s = -1, time.monotonic()
        while time.monotonic() < min(until_s, changed_s + calm_s):
            if len(self._levels()) != levels:
                levels, changed_s = len(self._levels()), time.monotonic()
            time.sleep(0.05)
        self.heard.wait_for(self._topic)


def publish(folder: Path) -> None:
    """Prune the digit reader and publish the ladder where the coordinator looks."""
    ladder = str(folder / "ladder")
    prune = ["prune", str(DIGITS / "digits.tflite"), "--out", ladder, "--levels", "3"]
    prune += ["--calibration", str(DIGITS / "calibration.npz")]
    prune += ["--evaluation", str(DIGITS / "evaluation.npz")]
    for command in (prune, ["publish", ladder, "--unsigned", "--data", str(folder / "server")]):
        secateur = [sys.executable, "-m", "secateur_server", *command]
        subprocess.run(secateur, check=True, stdout=subprocess.DEVNULL)


def make_certificate(folder: Path) -> None:
    """Make the broker's certificate, which is its own authority."""
    command = [find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(folder / "broker.key"), "-out", str(folder / "broker.crt")]
    subprocess.run(command, check=True, capture_output=True)


def find(program: str) -> str:
    """Find a program that is not ours."""
    found = shutil.which(program, path="/usr/local/sbin:/usr/sbin:/usr/bin:/bin")
    if found is None:
        raise SystemExit(f"{program} is not installed: apt install {program}")
    return found


def start(stack: ExitStack, command: list[str]) -> None:
    """Start a process that ends with the benchmark."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    stack.callback(child.wait, 30)
    stack.callback(child.terminate)


def free_port() -> int:
    """Find a TCP port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_for_port(port: int) -> None:
    """Wait until something listens there."""
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


if __name__ == "__main__":
    main()
