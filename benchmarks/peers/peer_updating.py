"""What it costs to send a model as one MQTT message, beside a plain HTTP download.

    python benchmarks/peers/peer_updating.py [--quick]

A real Mosquitto and a real HTTP server on loopback, a file of 20 MB (``--quick``: 5 MB), a new
process per transfer, in turns. Each writes the file to the disk and hashes it. What Secateur
itself does, HTTP with ranges and MQTT in blocks, is measured by ``ota_transfer.py``; this is
what it is instead of. A single message is not resumed after a cut: it comes again as a whole.

The last line is one JSON object:

    message_over_http      seconds of the one message over those of HTTP; median of the pairs
    message_client_mb      resident memory that the receiving process gained at its highest
    message_broker_mb      the same of the broker, over all rounds
    http_client_mb         the same of a process that downloads by HTTP

Exit codes: 0 measured; 1 something failed; 3 Mosquitto is not here.
"""

import argparse
import contextlib
import functools
import hashlib
import http.server
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import psutil
from paho.mqtt.enums import CallbackAPIVersion

from secateur_server.adapters.embedded_broker import find_mosquitto

SIZE, QUICK_SIZE = 20_000_000, 5_000_000
ROUNDS, QUICK_ROUNDS = 10, 3
WAIT_S = 60.0
NOT_HERE = 3

HTTP_CLIENT = """
import hashlib, sys, time, urllib.request
url, out = sys.argv[1:]
def peak():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
before = peak()
began = time.monotonic()
digest = hashlib.sha256()
with urllib.request.urlopen(url, timeout=60) as answer, open(out, "wb") as file:
    while block := answer.read(65536):
        digest.update(block)
        file.write(block)
print(time.monotonic() - began, peak() - before, digest.hexdigest())
"""

MQTT_CLIENT = """
import hashlib, sys, threading, time
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
port, out = int(sys.argv[1]), sys.argv[2]
def peak():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
done, got = threading.Event(), []
client = mqtt.Client(CallbackAPIVersion.VERSION2)
client.on_message = lambda _c, _u, message: (got.append(message.payload), done.set())
client.on_subscribe = lambda *_: print("ready", flush=True)
client.on_connect = lambda c, *_: c.subscribe("file", 1)
client.connect("127.0.0.1", port)
before = peak()
client.loop_start()
sys.stdin.readline()
began = time.monotonic()
print("now", flush=True)
if not done.wait(60):
    sys.exit("nothing came")
with open(out, "wb") as file:
    file.write(got[0])
digest = hashlib.sha256(got[0]).hexdigest()
print(time.monotonic() - began, peak() - before, digest)
"""


@contextlib.contextmanager
def mosquitto(folder: Path, program: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Run a broker that takes messages of any size."""
    port = free_port()
    (folder / "broker.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    command = [str(program), "-c", str(folder / "broker.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        try:
            wait_for(port)
            yield port, psutil.Process(child.pid)
        finally:
            child.terminate()


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)


@contextlib.contextmanager
def files(folder: Path) -> Iterator[int]:
    """Serve a folder by HTTP."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def by_http(port: int, folder: Path) -> tuple[float, float, str]:
    """Download once; give seconds, megabytes gained, digest."""
    command = [sys.executable, "-c", HTTP_CLIENT, f"http://127.0.0.1:{port}/file"]
    done = subprocess.run(
        [*command, str(folder / "out")],
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )
    return parsed(done.stdout)


def by_message(port: int, folder: Path, content: bytes) -> tuple[float, float, str]:
    """Send once, to one subscriber; the clock starts when the sender begins."""
    sender = mqtt.Client(CallbackAPIVersion.VERSION2)
    connected = threading.Event()
    sender.on_connect = lambda *_: connected.set()
    sender.connect("127.0.0.1", port)
    sender.loop_start()
    connected.wait(WAIT_S)
    command = [sys.executable, "-c", MQTT_CLIENT, str(port), str(folder / "out")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None  # noqa: S101 - asked for above
        assert child.stdout is not None  # noqa: S101 - the same
        child.stdout.readline()
        child.stdin.write("\n")
        child.stdin.flush()
        child.stdout.readline()
        sender.publish("file", content, qos=1)
        last = child.stdout.readline()
    sender.disconnect()
    sender.loop_stop()
    return parsed(last)


def parsed(line: str) -> tuple[float, float, str]:
    """Read what a client prints."""
    seconds, megabytes, digest = line.split()
    return float(seconds), float(megabytes), digest


def measure(program: Path, folder: Path, size: int, rounds: int) -> dict[str, float]:
    """Let both take turns.

    Raises:
        RuntimeError: What came is not what was sent.
    """
    content = os.urandom(size)
    (folder / "file").write_bytes(content)
    wanted = hashlib.sha256(content).hexdigest()
    ratios, http_mb, message_mb = [], [], []
    with mosquitto(folder, program) as (broker, process), files(folder) as port:
        by_message(broker, folder, b"the first warms up")
        before_mb = process.memory_info().rss / 1e6
        for _ in range(rounds):
            one, other = by_http(port, folder), by_message(broker, folder, content)
            if {one[2], other[2]} != {wanted}:
                raise RuntimeError("what came is not what was sent")
            ratios.append(other[0] / one[0])
            http_mb.append(one[1])
            message_mb.append(other[1])
        broker_mb = highest_mb(process.pid) - before_mb
    return {
        "message_over_http": round(statistics.median(ratios), 2),
        "message_client_mb": round(statistics.median(message_mb), 1),
        "message_broker_mb": round(broker_mb, 1),
        "http_client_mb": round(statistics.median(http_mb), 1),
    }


def highest_mb(pid: int) -> float:
    """Give a process's highest resident memory so far."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1e3


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="less than a minute")
    is_quick: bool = parser.parse_args().quick
    program = find_mosquitto()
    if program is None:
        sys.stderr.write("mosquitto is not installed: apt install mosquitto\n")
        return NOT_HERE
    size, rounds = (QUICK_SIZE, QUICK_ROUNDS) if is_quick else (SIZE, ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(program), Path(folder), size, rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
