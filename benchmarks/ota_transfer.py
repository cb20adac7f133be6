"""How a new model travels: 20 MB to one and to twenty agents, by HTTP and in blocks over MQTT.

Real agents are told to install versions whose artifact has 20 MB, as a coordinator tells them,
from the artifacts server and the block server that ship. A download's time is from the agent's
word that it begins until its word that all is there, hashed and flushed to the disk. curl
fetches the same file from the same server in between, and does neither. Then a relay that
counts what passes takes the place of the network, at a pace at which nothing waits in buffers,
and the agent is killed in the middle.

Needs mosquitto and curl. The last line is one JSON object:

    http_ratio_1          bytes per second of one agent by HTTP over those of curl; median
    http_ratio_20         the same of twenty agents at a time, over twenty curls at a time
    mqtt_ratio_1          bytes per second of one agent by blocks over those of curl by HTTP
    rss_growth_mb         highest resident memory of an agent while it fetches, less that before
    resume_overhead_bytes what passed the relay with a kill less what did without, the most
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
from paced_relay import PacedRelay
from paho.mqtt.enums import CallbackAPIVersion

from secateur_protocols.codec import decode, decode_document, encode
from secateur_protocols.manifest import Ladder
from secateur_protocols.ota import Ota, UpdateState
from secateur_protocols.state import Desired, DesiredModel, LadderRef
from secateur_protocols.topics import Leaf, device_topic, parse_device_topic
from secateur_server.adapters.artifacts_http import ArtifactsServer
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from secateur_server.coordinator.block_server import BlockServer
from secateur_server.registry.registry import Registry

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
SIZE_BYTES = 20_000_000
FLEET = 20
SITE = "bench"
WAIT_S = 300.0

RELAY_BYTES_PER_S = 10_000_000.0

CONFIG = """\
site = "bench"
device = "{device}"
state_dir = "{folder}/state"
[trust]
accept_unsigned = true
[broker]
url = "mqtt://127.0.0.1:{broker_port}"
[transfer]
way = "{way}"
spread_s = 0.0
[[models]]
name = "digits"
deadline_ms = 5000.0
[models.source]
kind = "replay"
path = "{data}"
rate_hz = 20.0
"""

SERVE = "--serve"


class Fleet:
    """Hears how updates of all devices go, and tells devices what to install."""

    def __init__(self, broker_port: int) -> None:
        self._news = threading.Condition()
        self._seen: dict[tuple[str, str, UpdateState], float] = {}
        self._revision = 0
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe(
            device_topic(SITE, "+", Leaf.OTA), qos=1
        )
        self._client.connect("127.0.0.1", broker_port)
        self._client.loop_start()

    def close(self) -> None:
        """Hear no more."""
        self._client.disconnect()
        self._client.loop_stop()

    def desire(self, device: str, version: "Version", url: str) -> None:
        """Tell a device what to install, and from where."""
        self._revision += 1
        wish = DesiredModel(
            model="digits", ladder=version.ref, level=0, deadline_ms=5000.0, reason="benchmark"
        )
        desired = Desired(revision=self._revision, artifacts_url=url, models=(wish,))
        topic = device_topic(SITE, device, Leaf.DESIRED)
        self._client.publish(topic, encode(desired), qos=1, retain=True)

    def when(self, device: str, version: "Version", state: UpdateState) -> float:
        """Wait for a state of an update, and say when it was heard first, monotonic seconds."""
        until_s = time.monotonic() + WAIT_S
        with self._news:
            while (at_s := self._seen.get((device, version.digest, state))) is None:
                if time.monotonic() > until_s:
                    raise SystemExit(f"{device} did not come to {state} in {WAIT_S:.0f} s")
                self._news.wait(1.0)
        return at_s

    def _hear(self, _client: object, _userdata: object, received: mqtt.MQTTMessage) -> None:
        device = parse_device_topic(received.topic).device
        with self._news:
            for update in decode(Ota, bytes(received.payload)).updates:
                if update.digest is not None:
                    key = (device, update.digest, update.state)
                    self._seen.setdefault(key, time.monotonic())
            self._news.notify_all()


@dataclass(frozen=True)
class Version:
    """A published ladder of one level."""

    ref: LadderRef
    digest: str


@dataclass
class Site:
    """A broker, the two servers in a process of their own, and versions to install."""

    folder: Path
    broker: EmbeddedBroker
    http_port: int
    versions: Iterator[Version]
    fleet: Fleet
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Say where blobs are."""
        return f"http://127.0.0.1:{self.http_port}/blobs"

    def start(self, device: str, way: str, *, broker_port: int | None = None) -> None:
        """Start an agent, or start it again."""
        folder = self.folder / device
        folder.mkdir(exist_ok=True)
        port = broker_port or self.broker.port
        data = DIGITS / "evaluation.npz"
        text = CONFIG.format(device=device, folder=folder, way=way, broker_port=port, data=data)
        (folder / "agent.toml").write_text(text)
        command = [sys.executable, "-m", "secateur_agent", "run"]
        with (folder / "log").open("ab") as log:
            self.agents[device] = subprocess.Popen(
                [*command, "--config", str(folder / "agent.toml")], stdout=log, stderr=log
            )

    def end(self, device: str) -> None:
        """Kill an agent; its children end by themselves."""
        agent = self.agents.pop(device)
        agent.kill()
        agent.wait()

    def install(self, devices: Sequence[str], *, url: str | None = None) -> float:
        """Let devices install a version, and give its bytes per second, all together."""
        version = next(self.versions)
        for device in devices:
            self.fleet.desire(device, version, url or self.url)
        began = [self.fleet.when(each, version, UpdateState.DOWNLOADING) for each in devices]
        ended = [self.fleet.when(each, version, UpdateState.DOWNLOADED) for each in devices]
        for device in devices:
            self.fleet.when(device, version, UpdateState.SUCCEEDED)
        return len(devices) * SIZE_BYTES / (max(ended) - min(began))

    def curl(self, count: int) -> float:
        """Download a version as often at a time, and give the bytes per second together."""
        url = f"{self.url}/{next(self.versions).digest}"

        def fetch(number: int) -> tuple[float, float]:
            into = self.folder / f"curl-{number}"
            command = ["curl", "-s", "-f", "-o", str(into), "-w", "%{time_total}", url]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            ended_s = time.monotonic()
            return ended_s - float(done.stdout), ended_s

        with ThreadPoolExecutor(count) as pool:
            spans = list(pool.map(fetch, range(count)))
        began, ended = zip(*spans, strict=True)
        return count * SIZE_BYTES / float(max(ended) - min(began))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument(SERVE, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(Path(asked.serve[0]), asked.serve[1])
        return
    if shutil.which("curl") is None:
        raise SystemExit("curl is not installed: apt install curl")
    rounds = 2 if asked.quick else 12
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site = stack.enter_context(open_site(folder))
        one = measure_one(site, rounds)
        twenty = measure_twenty(site, 1 if asked.quick else 4)
        overhead = max(
            measure_resume(site, way, kills=1 if asked.quick else 5) for way in ("http", "mqtt")
        )
    print(json.dumps({**one, "http_ratio_20": twenty, "resume_overhead_bytes": overhead}))


def measure_one(site: Site, rounds: int) -> dict[str, float]:
    """Let one agent of each way and curl take turns."""
    rates: dict[str, list[float]] = {"curl": [], "http": [], "mqtt": []}
    for way in ("http", "mqtt"):
        site.start(f"one-{way}", way)
    growth = [memory_growth_mb(site, f"one-{way}") for way in ("http", "mqtt")]
    for _ in range(rounds):
        rates["curl"].append(site.curl(1))
        for way in ("http", "mqtt"):
            rates[way].append(site.install([f"one-{way}"]))
    for way in ("http", "mqtt"):
        site.end(f"one-{way}")
    for name, found in rates.items():
        print(f"{name}: median {statistics.median(found) / 1e6:.0f} MB/s of {rounds}")
    print(
        "memory growth in the first fetch by HTTP, and by MQTT:", [round(g, 1) for g in growth]
    )
    return {
        "http_ratio_1": median_ratio(rates["http"], rates["curl"]),
        "mqtt_ratio_1": median_ratio(rates["mqtt"], rates["curl"]),
        "rss_growth_mb": round(max(growth), 1),
    }


def measure_twenty(site: Site, rounds: int) -> float:
    """Let twenty agents fetch at a time, and twenty curls before them."""
    devices = [f"twenty-{number}" for number in range(FLEET)]
    for device in devices:
        site.start(device, "http")
    for device in devices:  # all are awake: else their starts would be measured
        wait_for_line(site.folder / device / "log", "inference process ready")
    curls, agents = [], []
    for _ in range(rounds):
        curls.append(site.curl(FLEET))
        agents.append(site.install(devices))
    for device in devices:
        site.end(device)
    print(f"20 curls: {statistics.median(curls) / 1e6:.0f} MB/s together")
    print(f"20 agents: {statistics.median(agents) / 1e6:.0f} MB/s together")
    return median_ratio(agents, curls)


def measure_resume(site: Site, way: str, *, kills: int) -> int:
    """Say how many more bytes pass if the agent is killed while it fetches."""
    target = site.broker.port if way == "mqtt" else site.http_port
    with PacedRelay(target, RELAY_BYTES_PER_S) as relay:
        device = f"killed-{way}"
        url = f"http://127.0.0.1:{relay.port}/blobs" if way == "http" else site.url
        broker_port = relay.port if way == "mqtt" else None
        site.start(device, way, broker_port=broker_port)
        site.install([device], url=url)
        before = relay.passed_bytes
        site.install([device], url=url)
        uncut = relay.passed_bytes - before
        print(f"{way}: {uncut - SIZE_BYTES} bytes beside the file's own, {SIZE_BYTES} bytes")
        overheads = []
        for number in range(kills):
            before = relay.passed_bytes
            version = next(site.versions)
            site.fleet.desire(device, version, url)
            site.fleet.when(device, version, UpdateState.DOWNLOADING)
            held_bytes = SIZE_BYTES * (number + 1) // (kills + 1)
            staged = site.folder / device / "state" / "staging" / version.digest
            wait_for_size(staged, held_bytes)
            site.end(device)
            site.start(device, way, broker_port=broker_port)
            site.fleet.when(device, version, UpdateState.SUCCEEDED)
            overheads.append(relay.passed_bytes - before - uncut)
        site.end(device)
    print(f"{way}: {overheads} bytes more with a kill")
    return max(overheads)


def memory_growth_mb(site: Site, device: str) -> float:
    """Let an agent install a version; say what its control process takes more meanwhile."""
    wait_for_line(site.folder / device / "log", "inference process ready")
    process = Path(f"/proc/{site.agents[device].pid}")
    before_kb = status_kb(process, "VmRSS")
    (process / "clear_refs").write_text("5")  # the peak is counted anew
    site.install([device])
    return (status_kb(process, "VmHWM") - before_kb) / 1e3


def status_kb(process: Path, name: str) -> int:
    """Read a number of a process's status."""
    lines = (process / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def wait_for_line(log: Path, text: str) -> None:
    """Wait until a log has it."""
    until_s = time.monotonic() + WAIT_S
    while not log.exists() or text not in log.read_text(errors="replace"):
        if time.monotonic() > until_s:
            raise SystemExit(f"{log} says nothing of {text!r}")
        time.sleep(0.05)


def wait_for_size(path: Path, size_bytes: int) -> None:
    """Wait until a file has grown so far."""
    until_s = time.monotonic() + WAIT_S
    while not path.exists() or path.stat().st_size < size_bytes:
        if time.monotonic() > until_s:
            raise SystemExit(f"{path.name[:12]} does not grow")
        time.sleep(0.002)


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Compare rates that were measured in turns."""
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3)


@contextmanager
def open_site(folder: Path) -> Iterator[Site]:
    """Start a broker and the servers; end all when the block ends."""
    ladder_dir = prune_one(folder)
    broker = EmbeddedBroker(folder / "broker")
    registry = Registry(folder / "registry")
    registry.blobs_dir.mkdir(parents=True, exist_ok=True)
    servers = subprocess.Popen(
        [sys.executable, __file__, SERVE, str(folder / "registry"), broker.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    port = int(servers.stdout.readline()) if servers.stdout else 0
    fleet = Fleet(broker.port)
    site = Site(folder, broker, port, publish_versions(ladder_dir, registry), fleet)
    try:
        yield site
    finally:
        for device in list(site.agents):
            site.end(device)
        fleet.close()
        servers.communicate()  # its standard input ends
        broker.stop()


def serve(root: Path, broker_url: str) -> None:
    """Serve a registry by HTTP and in blocks until standard input ends."""
    files = ArtifactsServer(root / "blobs", host="127.0.0.1", port=0)
    blocks = BlockServer(broker_url, site=SITE, root=root, owns=lambda _device: True)
    files.start()
    blocks.start()
    print(files.port, flush=True)
    sys.stdin.read()
    blocks.stop()
    files.stop()


def prune_one(folder: Path) -> Path:
    """Measure and describe the digit model, in a process of its own."""
    prune = [sys.executable, "-m", "secateur_server", "prune", str(DIGITS / "digits.tflite")]
    prune += ["--calibration", str(DIGITS / "calibration.npz")]
    prune += ["--evaluation", str(DIGITS / "evaluation.npz")]
    prune += ["--method", "channel", "--levels", "2", "--out", str(folder / "ladder")]
    subprocess.run(prune, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "ladder"


def publish_versions(ladder_dir: Path, registry: Registry) -> Iterator[Version]:
    """Publish one version after the other: the model, and noise behind it up to 20 MB."""
    ladder = decode_document(Ladder, (ladder_dir / "ladder.json").read_bytes())
    model = (ladder_dir / "level-0.tflite").read_bytes()
    golden = (ladder_dir / "level-0.golden.npz").read_bytes()
    number = 0
    while True:
        number += 1
        content = model + os.urandom(SIZE_BYTES - len(model))
        digest = hashlib.sha256(content).hexdigest()
        changed = {"digest": digest, "size_bytes": SIZE_BYTES, "compressed_bytes": None}
        level = ladder.levels[0].model_copy(update=changed)
        named = ladder.model_copy(update={"version": str(number), "levels": (level,)})
        folder = ladder_dir.parent / "version"
        folder.mkdir(exist_ok=True)
        (folder / "ladder.json").write_text(named.model_dump_json(exclude_none=True))
        (folder / "level-0.tflite").write_bytes(content)
        (folder / "level-0.golden.npz").write_bytes(golden)
        yield Version(registry.publish(folder).ref, digest)
        (registry.blobs_dir / digest).unlink()  # nobody asks for it again


if __name__ == "__main__":
    main()
