"""What the agent adds to an inference: its loop against a bare engine loop, interleaved.

The bare loop does what any program does with a frame: encode it, run the engine, fetch the
outputs, see which is largest. The agent's loop is the real lane, kept busy: intake, turn,
checks, measurements. Both take turns in one process, so that what the machine does to one
it does to the other. The last line is one JSON object:

    p50_ratio, p99_ratio   agent / bare, the worst over the models
    http_added_us          median of a binary Open Inference Protocol call over HTTP minus
                           the median of the bare loop, microseconds, the worst over the
                           models
"""

import argparse
import http.client
import itertools
import json
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur_agent.core.window import nearest_rank
from secateur_agent.engine import LoadedModel, Tensor, find_engine
from secateur_agent.inference.commands import HttpSpec, LaneSpec, Load
from secateur_agent.inference.frame import Frame, Outcome
from secateur_agent.inference.intake import Intake
from secateur_agent.inference.lane import Lane, Serving
from secateur_agent.inference.realtime import Realtime, keep_collections_out
from secateur_agent.oip.router import Router
from secateur_agent.oip.server import HttpServer

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
MODELS = {
    "digits": (
        ROOT / "examples/digits/digits.tflite",
        ROOT / "examples/digits/evaluation.npz",
    ),
    "kws": (SHARED / "kws/kws_int8.tflite", None),
    "resnet8": (SHARED / "cifar10/resnet8_float32.tflite", None),
}

BLOCK = 64
"""Inferences of one loop before the other takes its turn."""


@dataclass(frozen=True)
class Times:
    """Medians and tails of one model, microseconds."""

    bare_us: list[float]
    agent_us: list[float]
    http_us: list[float]


def main() -> None:
    """Measure every model that is here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    rounds = 60 if parser.parse_args().quick else 800
    keep_collections_out()
    ratios50, ratios99, added = [], [], []
    for name, (path, data) in MODELS.items():
        if not path.exists():
            print(f"{name}: {path} is not here, left out")
            continue
        times = measure(name, path, data, rounds)
        p50 = rank(times.agent_us, 0.5) / rank(times.bare_us, 0.5)
        p99 = rank(times.agent_us, 0.99) / rank(times.bare_us, 0.99)
        http_us = rank(times.http_us, 0.5) - rank(times.bare_us, 0.5)
        print(f"{name}: bare {tell(times.bare_us)}, agent {tell(times.agent_us)}, ", end="")
        print(f"ratios {p50:.3f} and {p99:.3f}, HTTP adds {http_us:.0f} us")
        ratios50.append(p50)
        ratios99.append(p99)
        added.append(http_us)
    last = {
        "p50_ratio": round(max(ratios50), 4),
        "p99_ratio": round(max(ratios99), 4),
        "http_added_us": round(max(added), 1),
    }
    print(json.dumps(last))


def rank(values: list[float], ratio: float) -> float:
    """Give a nearest rank."""
    return nearest_rank(sorted(values), ratio)


def tell(values: list[float]) -> str:
    """Say both ranks in words."""
    return f"p50 {rank(values, 0.5):.1f} us p99 {rank(values, 0.99):.1f} us"


def measure(name: str, path: Path, data: Path | None, rounds: int) -> Times:
    """Let bare loop, lane and HTTP take turns."""
    engine = find_engine()
    model, other = engine.load(path.read_bytes()), engine.load(path.read_bytes())
    sample = first_sample(model, data)
    lane = serve(name, other, sample)
    port = free_port()
    server = HttpServer(
        HttpSpec(listen=f"127.0.0.1:{port}", max_request_bytes=1 << 24, max_connections=4),
        Router({name: lane}, str),
    )
    server.start()
    caller = Caller(name, port, other, sample)
    times = Times([], [], [])
    for number in range(rounds + 2):
        turns = (run_bare(model, sample), run_lane(lane, sample), caller.run())
        if number >= 2:  # the first ones warm up
            for kept, turn in zip(
                (times.bare_us, times.agent_us, times.http_us), turns, strict=True
            ):
                kept.extend(turn)
    server.stop()
    lane.stop()
    return times


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def first_sample(model: LoadedModel, data: Path | None) -> Tensor:
    """Give one input, real where there is data."""
    info = model.inputs[0]
    if data is not None:
        with np.load(data) as arrays:
            sample: Tensor = arrays["x"][0]
            return sample
    chance = np.random.default_rng(0)
    if np.issubdtype(info.dtype, np.integer):
        return chance.integers(-100, 100, info.shape).astype(info.dtype)
    return chance.random(info.shape, np.float32)


def serve(name: str, model: LoadedModel, sample: Tensor) -> Lane:
    """Start a real lane that serves a model."""
    spec = LaneSpec(model=name, deadline_ms=1000.0, source=None, queue=BLOCK)
    intake = Intake(BLOCK, None, print)
    lane = Lane(spec, intake, 1.0, print, realtime=Realtime())
    load = Load(
        ticket=0, model=name, version="1", level=0, precision="", digest="0" * 64, path=""
    )
    model.infer([model.inputs[0].encode(sample)])
    lane.replace(Serving(load, model, 0.0))
    lane.start()
    return lane


def run_bare(model: LoadedModel, sample: Tensor) -> list[float]:
    """Time a block of the bare loop, per inference."""
    info = model.inputs[0]
    marks = [time.perf_counter()]
    for _ in range(BLOCK):
        outputs = model.infer([info.encode(sample)])
        outputs[0].argmax()
        marks.append(time.perf_counter())
    return differences_us(marks)


def run_lane(lane: Lane, sample: Tensor) -> list[float]:
    """Time a block of the lane's loop: from one answer to the next, never idle."""
    marks: list[float] = []
    done = threading.Event()

    def settle(_outcome: Outcome) -> None:
        marks.append(time.perf_counter())
        if len(marks) == BLOCK:
            done.set()

    for _ in range(BLOCK):
        lane.intake.offer(Frame(time.monotonic(), sample, settle=settle))
    if not done.wait(60.0):
        msg = "the lane did not answer"
        raise RuntimeError(msg)
    return differences_us(marks)


def differences_us(marks: list[float]) -> list[float]:
    """Give the times between marks."""
    return [(after - before) * 1e6 for before, after in itertools.pairwise(marks)]


class Caller:
    """One HTTP client with one connection and one prepared binary request."""

    def __init__(self, name: str, port: int, model: LoadedModel, sample: Tensor) -> None:
        info = model.inputs[0]
        raw = info.encode(sample).tobytes()
        datatype = {"float32": "FP32", "int8": "INT8", "uint8": "UINT8"}[info.dtype.name]
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._path = f"/v2/models/{name}/infer"
        tensor: dict[str, Any] = {
            "name": self._input_name(name),
            "shape": list(info.shape),
            "datatype": datatype,
            "parameters": {"binary_data_size": len(raw)},
        }
        document = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
        head = json.dumps(document).encode()
        self._body = head + raw
        self._headers = {"Inference-Header-Content-Length": str(len(head))}

    def _input_name(self, name: str) -> str:
        self._connection.request("GET", f"/v2/models/{name}")
        answer = json.loads(self._connection.getresponse().read())
        return str(answer["inputs"][0]["name"])

    def run(self) -> list[float]:
        """Time a block of calls."""
        times = []
        for _ in range(BLOCK // 4):
            started = time.perf_counter()
            self._connection.request("POST", self._path, self._body, self._headers)
            response = self._connection.getresponse()
            response.read()
            if response.status != http.client.OK:
                msg = f"HTTP {response.status}"
                raise RuntimeError(msg)
            times.append((time.perf_counter() - started) * 1e6)
        return times


if __name__ == "__main__":
    main()
