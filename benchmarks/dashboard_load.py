"""How the dashboard does with ten thousand devices at one message per ten seconds.

    python benchmarks/dashboard_load.py [--quick]

A publisher in a process of its own speaks for all devices through a real Mosquitto; a real
`secateur dashboard` shows them; a headless Chromium is logged in and watches the Fleet page.
First paint is the browser's own first contentful paint of a page with the whole fleet behind
it, counted from the click; an update's latency runs from the moment before a device's telemetry
is published to the moment at which the page has its number in the table, by the one clock of
this machine. CPU and memory are the dashboard's alone, while the page is open.

Needs Chromium and Mosquitto. Last line: first_paint_s, update_p95_s, server_cpu_share (of one
core), server_rss_mb.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from coordinator_throughput import PERIOD_S, SITE, Fleet, percentile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from secateur_protocols.codec import encode
from secateur_protocols.presence import Presence, PresenceState
from secateur_protocols.state import Desired, DesiredModel, LadderRef
from secateur_protocols.topics import Leaf, device_topic, model_topic
from secateur_server.adapters.broker import Broker
from secateur_server.adapters.embedded_broker import EmbeddedBroker, find_mosquitto
from support.browser import Browser, find_chromium

DEVICES = 10_000
PROBE = "a-probe"
"""Sorts before all others, so that its row is in sight."""

NOT_HERE = 3
"""Exit code where a program is missing."""

WATCH = """
window.seen = [];
new MutationObserver(() => {
  const cell = document.querySelector("#rows .c-share b");
  const text = cell && cell.innerText;
  const last = window.seen[window.seen.length - 1];
  if (text && (!last || last[0] !== text)) window.seen.push([text, Date.now() / 1000]);
}).observe(document.getElementById("rows"), {childList: true, subtree: true});
"""
"""Notes when the first row's p95 becomes another."""


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="less than a minute")
    parser.add_argument("--publish", metavar="URL", help="be the publisher")
    options = parser.parse_args()
    if options.publish:
        publish(options.publish)
        return
    if find_chromium() is None or find_mosquitto() is None:
        print("chromium and mosquitto are needed", file=sys.stderr)
        raise SystemExit(NOT_HERE)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), samples=25 if options.quick else 200)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def publish(url: str) -> None:
    """Speak for all devices until the input ends; say ``ready`` once all are born."""
    fleet = Fleet(DEVICES)
    line = Broker(url, subscriptions=[], on_message=lambda _: None)
    line.start()
    line.publish(model_topic(SITE, fleet.ladder.model), encode(fleet.ladder), is_retained=True)
    for number in range(DEVICES):
        say_birth(line, fleet, number)
        if number % 500 == 0:
            time.sleep(0.05)
    print("ready", flush=True)
    send = fleet.sender(line, DEVICES / PERIOD_S)
    while True:
        send(30.0)


def say_birth(line: Broker, fleet: Fleet, number: int) -> None:
    """Retain what a device and its coordinator have said of it."""
    name, info = f"d-{number}", fleet.devices.birth_of(number)
    presence = Presence(state=PresenceState.ONLINE, boot=1, session=1)
    wish = DesiredModel(
        model=fleet.ladder.model,
        ladder=LadderRef(version=fleet.ladder.version, digest="0" * 64, size_bytes=1),
        level=len(fleet.ladder.levels) - 1,
        deadline_ms=info.tasks[0].deadline_ms,
        reason="no measurement yet: the narrowest level first",
    )
    desired = Desired(revision=1, artifacts_url="http://127.0.0.1:1/blobs", models=(wish,))
    for leaf, said in (
        (Leaf.PRESENCE, presence),
        (Leaf.INFO, info),
        (Leaf.DESIRED, desired),
    ):
        line.publish(device_topic(SITE, name, leaf), encode(said), is_retained=True)


def measure(folder: Path, *, samples: int) -> dict[str, float]:
    """Measure all four."""
    broker = EmbeddedBroker(folder / "broker")
    with (
        publishing(broker.url),
        showing(folder, broker.url) as (url, server),
        Browser() as page,
    ):
        log_in(page, url)
        paints_s = [first_paint_s(page, url) for _ in range(5)]
        page.run(WATCH)
        begun, begun_cpu_s = time.monotonic(), cpu_s(server)
        latencies_s = update_latencies_s(page, broker.url, samples)
        share = (cpu_s(server) - begun_cpu_s) / (time.monotonic() - begun)
        rss_mb = server.memory_info().rss / 1e6
        silent = page.text("#summary .states")
    broker.stop()
    print(f"health of the fleet at the end: {' '.join(silent.split())}")
    print(f"first paints, s: {sorted(round(each, 3) for each in paints_s)}")
    print(f"updates, s: p50 {percentile(latencies_s, 0.5):.3f}, of {len(latencies_s)}")
    return {
        "first_paint_s": statistics.median(paints_s),
        "update_p95_s": percentile(latencies_s, 0.95),
        "server_cpu_share": share,
        "server_rss_mb": rss_mb,
    }


@contextmanager
def publishing(url: str) -> Iterator[None]:
    """Run the publisher."""
    command = [sys.executable, __file__, "--publish", url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        if process.stdout.readline() != b"ready\n":
            raise SystemExit("the publisher did not start")
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def showing(folder: Path, broker_url: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run a real ``secateur dashboard``."""
    ready = folder / "dashboard.json"
    command = [sys.executable, "-m", "secateur_server", "dashboard", "--broker", broker_url]
    command += ["--port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the dashboard did not start")
            time.sleep(0.05)
        yield json.loads(ready.read_text())["dashboard"], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def log_in(page: Browser, url: str) -> None:
    """Open the fleet and wait until all of it is there."""
    page.go(url)
    page.click("button.primary")
    page.wait_for("document.querySelectorAll('#rows tr').length === 50")
    whole = f"{DEVICES:,}".replace(",", "\\u202f")
    page.wait_for(f"document.querySelector('#summary .value').innerText === '{whole}'")


def first_paint_s(page: Browser, url: str) -> float:
    """Open the page anew; the rows are in it when it is painted first."""
    page.go(f"{url}/?sort=-share")
    page.wait_for("performance.getEntriesByName('first-contentful-paint').length === 1")
    script = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    painted_ms: float = page.run(script)
    page.go(url)
    return painted_ms / 1000


def update_latencies_s(page: Browser, broker_url: str, samples: int) -> list[float]:
    """Publish telemetry of one device in sight, each with another p95; look when it is seen."""
    fleet = Fleet(1)
    line = Broker(broker_url, subscriptions=[], on_message=lambda _: None)
    line.start()
    line.publish(device_topic(SITE, PROBE, Leaf.INFO), encode(fleet.devices.birth_of(0)))
    template = next(json.loads(payload) for _, payload in fleet.period())
    sent_s: dict[str, float] = {}
    for number in range(samples):
        p95_ms = 1.0 + number / 100
        template["sequence"] = number
        template["models"][0] |= {"p95_ms": p95_ms, "recent_p95_ms": [p95_ms]}
        payload = json.dumps(template).encode()
        # Not in step with anything that the server does once a second.
        time.sleep(0.7 + (number * 0.37) % 0.5)
        sent_s[f"{p95_ms:.3g} ms"] = time.time()
        line.publish(device_topic(SITE, PROBE, Leaf.TELEMETRY), payload, qos=0)
    time.sleep(3.0)
    line.stop()
    seen: list[tuple[str, float]] = page.run("window.seen")
    latencies = [at_s - sent_s[text] for text, at_s in seen if text in sent_s]
    if len(latencies) < 0.9 * samples:
        raise SystemExit(f"only {len(latencies)} of {samples} updates came to the screen")
    return latencies


def cpu_s(process: psutil.Process) -> float:
    """Say what a process has used of the processors."""
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
