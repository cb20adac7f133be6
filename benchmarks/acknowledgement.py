"""How soon a device says that it heard, and how soon a level that it holds serves after that.

A real agent that serves frames is told one level after the other, all of them held on its disk,
by a client of a real broker beside it, as a coordinator tells it. The last line is one JSON
object:

    ack_p95_ms      from publishing the desired state to hearing it acknowledged in `reported`
    serving_p95_ms  from that acknowledgement to hearing that the level answers frames: every
                    level in turn, loaded and warmed after the wish
    standby_p95_ms  the same where the level had stood by, loaded and warm
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
from agent_footprint import DIGITS, commit_a_model
from paho.mqtt.enums import CallbackAPIVersion

from secateur_agent.core.window import nearest_rank
from secateur_protocols.codec import decode, encode
from secateur_protocols.ota import Ota, UpdateState
from secateur_protocols.state import Desired, DesiredModel, Reported
from secateur_protocols.topics import Leaf, device_topic, parse_device_topic
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from secateur_server.registry.registry import Registry

CONFIG = """\
device = "told"
site = "bench"
state_dir = "{folder}/state"
[trust]
accept_unsigned = true
[broker]
url = "{broker_url}"
[transfer]
spread_s = 0.0
[telemetry]
period_s = 1.0
[[models]]
name = "digits"
deadline_ms = 5000.0
[models.source]
kind = "replay"
path = "{data}"
rate_hz = 100.0
"""

WAIT_S = 120.0


class Told:
    """Tells a device its level, and notes when it says what."""

    def __init__(self, broker_url: str, registry: Registry) -> None:
        self._published = registry.latest()["digits"]
        self._news = threading.Condition()
        self._acknowledged: dict[int, float] = {}
        self._updates: list[tuple[float, UpdateState, int]] = []
        self._revision = 0
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(device_topic("bench", "told", leaf), 1) for leaf in (Leaf.OTA, Leaf.REPORTED)]
        )
        self._client.connect("127.0.0.1", int(broker_url.rpartition(":")[2]))
        self._client.loop_start()

    def close(self) -> None:
        """Hear no more."""
        self._client.disconnect()
        self._client.loop_stop()

    def go_to(self, level: int) -> tuple[float, float]:
        """Let it go to a level; give the times to its acknowledgement and from it, in ms."""
        self._revision += 1
        revision, seen = self._revision, len(self._updates)
        wish = DesiredModel(
            model="digits",
            ladder=self._published.ref,
            level=level,
            deadline_ms=5000.0,
            reason="benchmark",
        )
        desired = Desired(
            revision=revision, artifacts_url="http://127.0.0.1:9/blobs", models=(wish,)
        )
        topic = device_topic("bench", "told", Leaf.DESIRED)
        sent_s = time.monotonic()
        self._client.publish(topic, encode(desired), qos=1, retain=True)
        heard_s = self._wait(lambda: self._acknowledged.get(revision))
        serving_s = self._wait(lambda: self._when(seen, UpdateState.PROBATION, level))
        self._wait(lambda: self._when(seen, UpdateState.SUCCEEDED, level))
        return (heard_s - sent_s) * 1e3, (serving_s - heard_s) * 1e3

    def _when(self, seen: int, state: UpdateState, level: int) -> float | None:
        found = [at for at, *what in self._updates[seen:] if what == [state, level]]
        return found[0] if found else None

    def _wait(self, find: Callable[[], float | None]) -> float:
        until_s = time.monotonic() + WAIT_S
        with self._news:
            while (found := find()) is None:
                if time.monotonic() > until_s:
                    raise SystemExit(f"the device did not answer in {WAIT_S:.0f} s")
                self._news.wait(1.0)
        return found

    def _hear(self, _client: object, _userdata: object, received: mqtt.MQTTMessage) -> None:
        now_s = time.monotonic()
        is_ota = parse_device_topic(received.topic).leaf is Leaf.OTA
        with self._news:
            if is_ota:
                told = decode(Ota, bytes(received.payload)).updates
                self._updates += [(now_s, each.state, each.level) for each in told]
            else:
                revision = decode(Reported, bytes(received.payload)).revision
                self._acknowledged.setdefault(revision, now_s)
            self._news.notify_all()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    rounds = 10 if parser.parse_args().quick else 100
    acks, serving, standby = [], [], []
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as (told, log):
        told.go_to(1)  # both levels are probed now: that is done once per start
        for number in range(rounds):
            acknowledged_ms, after_ms = told.go_to(0)
            acks.append(acknowledged_ms)
            serving.append(after_ms)
            wait_for_standby(log, number + 1)
            acknowledged_ms, after_ms = told.go_to(1)
            acks.append(acknowledged_ms)
            standby.append(after_ms)
    for label, found in (("ack", acks), ("serving", serving), ("standby", standby)):
        print(f"{label}: median {statistics.median(found):.1f} ms, most {max(found):.1f} ms")
    print(
        json.dumps(
            {
                "ack_p95_ms": round(nearest_rank(sorted(acks), 0.95), 2),
                "serving_p95_ms": round(nearest_rank(sorted(serving), 0.95), 2),
                "standby_p95_ms": round(nearest_rank(sorted(standby), 0.95), 2),
            }
        )
    )


def wait_for_standby(log: Path, times: int) -> None:
    """Wait until the narrower level stands by for the nth time."""
    until_s = time.monotonic() + WAIT_S
    while log.read_text(errors="replace").count("stands by") < times:
        if time.monotonic() > until_s:
            raise SystemExit("no level stands by")
        time.sleep(0.01)


@contextmanager
def running(folder: Path) -> Iterator[tuple[Told, Path]]:
    """Start a broker and an agent that holds two levels; end both when the block ends."""
    commit_a_model(folder)
    broker = EmbeddedBroker(folder / "broker")
    told = Told(broker.url, Registry(folder / "registry"))
    config = folder / "agent.toml"
    data = DIGITS / "evaluation.npz"
    config.write_text(CONFIG.format(folder=folder, broker_url=broker.url, data=data))
    command = [sys.executable, "-m", "secateur_agent", "run", "--config", str(config)]
    log = folder / "log"
    with log.open("wb") as file:
        agent = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        yield told, log
    finally:
        agent.terminate()
        agent.wait()
        told.close()
        broker.stop()


if __name__ == "__main__":
    main()
