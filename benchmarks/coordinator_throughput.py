"""How much telemetry one core takes in, through broker, validation, planning and store.

    python benchmarks/coordinator_throughput.py [--quick]

As many devices as the rate is at one message per 10 s speak at a steady rate, so that the
store has its due share of the work. The same messages are received by a bare paho client and
by a real `secateur serve`, in turns, each in a process of its own whose CPU time is read. What
is compared is CPU time per message, so that sharing the machine with the publisher does not
count. A message that the broker drops in overload is counted for neither.

Last line: ratio_to_receive, devices_per_core (at one message per 10 s), decision_p99_ms,
cost_growth_ratio (CPU per message with many known devices over with few).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from secateur_protocols.codec import encode
from secateur_protocols.control import ShowStatus
from secateur_protocols.topics import ANY, Leaf, device_topic
from secateur_server.adapters.broker import Broker, Received, Subscription
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from secateur_server.adapters.operator import OperatorClient
from secateur_server.adapters.store import Store, sqlite_url
from secateur_server.collector import collect_seldom
from secateur_server.coordinator.driver import Driver
from secateur_server.core.experience import SETTLED_PERIODS
from secateur_server.registry.registry import Registry
from secateur_server.simulation.devices import Devices
from secateur_server.simulation.scenario import make_ladder, read_scenario, write_ladder
from secateur_server.simulation.world import Body, World

ROOT = Path(__file__).resolve().parents[1]
SCENARIO = ROOT / "examples" / "simulation" / "heat-wave-day.toml"
PERIOD_S = 10.0
BIRTHS, BIRTHS_PER_S = 200, 2000.0
"""Devices say hello some at a time, so that the broker drops none."""
SITE = "default"

RECEIVER = """
import sys
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

def receive(client, userdata, message):
    global count
    count += 1

count = 0
client = mqtt.Client(CallbackAPIVersion.VERSION2)
client.on_message = receive
client.on_connect = lambda c, *_: c.subscribe(sys.argv[2], 0)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_start()
print("ready", flush=True)
for line in sys.stdin:
    print(count, flush=True)
"""
"""Receives, counts, and does nothing else."""

Send = Callable[[float], int]
"""Publishes for so many seconds, and says how many messages."""


def main() -> None:
    """Run all four measurements."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="less than a minute")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        figures = measure_throughput(Path(folder), quick=quick)
    with tempfile.TemporaryDirectory() as folder:
        figures["cost_growth_ratio"] = measure_growth(Path(folder), quick=quick)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def measure_throughput(folder: Path, *, quick: bool) -> dict[str, float]:
    """Compare CPU per message, in turns, and time decisions."""
    rounds, seconds, rate_hz = (3, 3.0, 1000.0) if quick else (5, 10.0, 4000.0)
    fleet = Fleet(round(rate_hz * PERIOD_S))  # so that each says as much as it would
    broker = EmbeddedBroker(folder / "broker")
    publisher = Broker(broker.url, subscriptions=[], on_message=lambda _: None)
    publisher.start()
    send = fleet.sender(publisher, rate_hz)
    plain, whole = [], []
    try:
        with serving(folder, broker.url) as server:
            fleet.birth(publisher)
            settle = fleet.sender(publisher, 2 * rate_hz)
            settle(PERIOD_S)  # each has spoken twice: nobody's first word is measured
            for _ in range(rounds):
                with receiving(broker.port) as receiver:
                    plain.append(cost_us(receiver, send, seconds))
                whole.append(cost_us(server, send, seconds))
            latencies_ms = fleet.time_decisions(broker.url, 50 if quick else 300)
    finally:
        publisher.stop()
        broker.stop()
    print(f"CPU per message, us: receiving {sorted(plain)}, coordinating {sorted(whole)}")
    p50_ms, p99_ms = (percentile(latencies_ms, share) for share in (0.5, 0.99))
    print(f"decision latency: p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms")
    cost = statistics.median(whole)
    return {
        "ratio_to_receive": statistics.median(plain) / cost,
        "devices_per_core": 1e6 / cost * PERIOD_S,
        "decision_p99_ms": p99_ms,
    }


class Fleet:
    """Simulated devices, and messages of theirs made beforehand."""

    def __init__(self, count: int) -> None:
        # What is said is what is measured.
        self.world = World(read_scenario(SCENARIO).with_every_period_said(), count)
        self.devices = Devices(self.world)
        self._body = Body(self.world)
        self.ladder = make_ladder(self.world.scenario.ladder)

    def birth(self, publisher: Broker) -> None:
        """Say what every device is."""
        for number in range(self.devices.count):
            topic = device_topic(SITE, f"d-{number}", Leaf.INFO)
            publisher.publish(topic, encode(self.devices.birth_of(number)), is_retained=True)
            if number % BIRTHS == BIRTHS - 1:
                time.sleep(BIRTHS / BIRTHS_PER_S)
        time.sleep(2.0)

    def period(self) -> list[tuple[str, bytes]]:
        """Make one period's telemetry of every device: settled, with nothing wider to go to."""
        weather = self.world.step()
        measured_ms = 0.85 * self.world.deadline_ms * weather.scatter.clip(0.9, 1.1)
        told = self.devices.tell(measured_ms, self._body, weather)
        return [
            (device_topic(SITE, f"d-{number}", Leaf.TELEMETRY), encode(telemetry))
            for number, telemetry in told
        ]

    def sender(self, publisher: Broker, rate_hz: float) -> Send:
        """Give a function that publishes at a steady rate."""

        def send(seconds: float) -> int:
            sent, started_s = 0, time.monotonic()
            waiting: list[tuple[str, bytes]] = []
            while (passed_s := time.monotonic() - started_s) < seconds:
                if sent > passed_s * rate_hz:
                    time.sleep(0.001)
                    continue
                if not waiting:
                    waiting = self.period()
                publisher.publish(*waiting.pop(), qos=0)
                sent += 1
            time.sleep(1.0)
            return sent

        return send

    def time_decisions(self, url: str, count: int) -> list[float]:
        """Time from a late device's telemetry to its new desired state, one after the other."""
        waiting: list[float] = []
        client = Broker(
            url,
            subscriptions=[Subscription(device_topic(SITE, ANY, Leaf.DESIRED))],
            on_message=lambda _: waiting.append(time.perf_counter()),
        )
        client.start()
        time.sleep(3.0)  # for what is retained
        latencies_ms = []
        for number in range(count):
            topic, payload = self._late(number)
            waiting.clear()
            begun = time.perf_counter()
            client.publish(topic, payload, qos=0)
            until = begun + 5.0
            while not waiting and time.perf_counter() < until:
                time.sleep(0.0002)
            if waiting:
                latencies_ms.append(1000 * (waiting[0] - begun))
        client.stop()
        if len(latencies_ms) < 0.9 * count:
            raise SystemExit(f"only {len(latencies_ms)} of {count} decisions came")
        return latencies_ms

    def _late(self, number: int) -> tuple[str, bytes]:
        """Make telemetry that calls for a decision: the narrowest level is late, infeasible."""
        measured_ms = self.world.deadline_ms * 1.5
        weather = self.world.step()
        for found, telemetry in self.devices.tell(measured_ms, self._body, weather):
            if found == number:
                topic = device_topic(SITE, f"d-{number}", Leaf.TELEMETRY)
                return topic, encode(telemetry)
        return self._late(number)  # its link lost it


@contextmanager
def serving(folder: Path, url: str) -> Iterator["Measured"]:
    """Run a real ``secateur serve`` on the broker, with the scenario's ladder published."""
    write_ladder(make_ladder(read_scenario(SCENARIO).ladder), folder / "ladder")
    Registry(folder / "data" / "registry").publish(folder / "ladder")
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "secateur_server", "serve", "--broker", url]
    command += ["--http-port", "0", "--data", str(folder / "data"), "--ready-file", str(ready)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit("serve did not start")
        time.sleep(0.05)
    operator = OperatorClient(url, SITE)

    def count() -> int:
        result: Any = operator.request(ShowStatus(), timeout_s=60.0).result
        messages = result["messages"]
        return int(messages["heard"]) + int(messages["late"])

    try:
        yield Measured(process.pid, count)
    finally:
        operator.close()
        process.terminate()
        process.wait(60)


@contextmanager
def receiving(port: int) -> Iterator["Measured"]:
    """Run a bare paho client that receives the same."""
    topic = device_topic(SITE, ANY, Leaf.TELEMETRY)
    process = subprocess.Popen(
        [sys.executable, "-c", RECEIVER, str(port), topic],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None or stdout.readline().strip() != "ready":
        raise SystemExit("the receiver did not start")

    def count() -> int:
        stdin.write("\n")
        stdin.flush()
        return int(stdout.readline())

    time.sleep(0.5)
    try:
        yield Measured(process.pid, count)
    finally:
        stdin.close()
        process.wait(30)


class Measured:
    """A process whose CPU time and messages are read."""

    def __init__(self, pid: int, count: Callable[[], int]) -> None:
        self._process = psutil.Process(pid)
        self.count = count

    def cpu_s(self) -> float:
        """Give its CPU time until now."""
        times = self._process.cpu_times()
        return times.user + times.system


def cost_us(measured: Measured, send: Send, seconds: float) -> float:
    """Give CPU microseconds per message that was taken in."""
    before_count, before_s = measured.count(), measured.cpu_s()
    sent = send(seconds)
    taken_s = measured.cpu_s() - before_s  # before it has to answer how many there were
    count = measured.count() - before_count
    if count < 0.9 * sent:
        print(f"  {sent - count} of {sent} messages were dropped by the broker")
    return round(1e6 * taken_s / max(1, count), 1)


def measure_growth(folder: Path, *, quick: bool) -> float:
    """Give the cost per message with many known devices over that with few, without broker."""
    few, many = (200, 4000) if quick else (1000, 100_000)
    collect_seldom()  # as `serve` does
    costs = {}
    for count in (few, many):
        fleet = Fleet(count)
        driver = make_driver(folder / str(count), fleet)
        turns = []
        for _ in range(3):
            messages: list[tuple[str, bytes]] = []  # each of them new, none said twice
            while len(messages) < (4000 if quick else 20_000):
                messages += fleet.period()
            turns.append(replay(driver, messages))
        costs[count] = min(turns)
        print(f"{count} known devices: {costs[count]:.1f} us per message")
    return costs[many] / costs[few]


def make_driver(folder: Path, fleet: Fleet) -> Driver:
    """Make a coordinator that knows a fleet; it is fed by hand and connects to nobody."""
    write_ladder(fleet.ladder, folder / "ladder")
    registry = Registry(folder / "registry")
    registry.publish(folder / "ladder")
    driver = Driver(
        site=SITE,
        broker_url="mqtt://127.0.0.1:1",
        artifacts_url="-",
        store=Store(sqlite_url(folder / "t.sqlite"), SITE),
        registry=registry,
    )
    driver.tick()
    births = (
        Received(
            device_topic(SITE, f"d-{number}", Leaf.INFO),
            encode(fleet.devices.birth_of(number)),
        )
        for number in range(fleet.devices.count)
    )
    driver.take(births)
    driver.take(Received(*each) for _ in range(SETTLED_PERIODS) for each in fleet.period())
    driver.tick()
    return driver


def replay(driver: Driver, messages: Sequence[tuple[str, bytes]]) -> float:
    """Give CPU microseconds per message, ticks for saving included."""
    received = [Received(*each) for each in messages]
    begun_s = time.process_time()
    driver.take(received)
    driver.tick()
    return 1e6 * (time.process_time() - begun_s) / len(received)


def percentile(values: Sequence[float], share: float) -> float:
    """Give a nearest-rank percentile."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()
