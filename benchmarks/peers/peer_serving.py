"""What a call of the Open Inference Protocol costs: the agent, MLServer, a bare engine loop.

    python benchmarks/peers/peer_serving.py [--quick]

All run the same model in the same engine on one thread, and answer the same client in turns.
The agent is its inference process's own parts in a process of their own; MLServer runs LiteRT
by a runtime of a dozen lines, since it brings none, in its leanest setting
(``parallel_workers`` 0). Both are asked in JSON; the agent takes raw bytes as well, which
MLServer's REST does not.

The last line is one JSON object:

    bare_us                          median of the engine alone
    secateur_binary_added_us, secateur_json_added_us, mlserver_json_added_us
                                     median of a call minus that
    secateur_json_p99_us, mlserver_json_p99_us
    added_ratio                      MLServer's addition over the agent's, in JSON
    secateur_calls_per_s, mlserver_calls_per_s       of four callers at once, in JSON
    secateur_mb, mlserver_mb         resident memory of the process after all calls

Exit codes: 0 measured; 1 something failed; 3 the peer is not to be had here.
"""

import argparse
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from environment import PeerMissingError, python_with

from secateur_agent.engine import LoadedModel, find_engine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODEL = ROOT / "examples" / "digits" / "digits.tflite"
SAMPLES = ROOT / "examples" / "digits" / "evaluation.npz"
MLSERVER = ("mlserver==1.7.1", "ai-edge-litert==2.3.0")
NAME = "digits"
BLOCK = 50
"""Calls of one before the next takes its turn."""
ROUNDS, QUICK_ROUNDS = 60, 6
CALLERS = 4
LOAD_S, QUICK_LOAD_S = 10.0, 2.0
READY_S = 90.0
NOT_HERE = 3


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Caller:
    """One client with one connection and one prepared request."""

    def __init__(self, port: int, sample: Any, *, is_binary: bool) -> None:  # noqa: ANN401
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._connection.request("GET", f"/v2/models/{NAME}")
        answer = json.loads(self._connection.getresponse().read())
        name = answer["inputs"][0]["name"] if answer.get("inputs") else "image"
        tensor: dict[str, Any] = {"name": name, "shape": list(sample.shape), "datatype": "FP32"}
        self._headers = {"Content-Type": "application/json"}
        if is_binary:
            raw = sample.tobytes()
            tensor["parameters"] = {"binary_data_size": len(raw)}
            head = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
            text = json.dumps(head).encode()
            self._headers["Inference-Header-Content-Length"] = str(len(text))
            self._body = text + raw
        else:
            tensor["data"] = sample.ravel().tolist()
            self._body = json.dumps({"inputs": [tensor]}).encode()

    def call(self) -> bytes:
        """Call once.

        Raises:
            RuntimeError: The answer is an error.
        """
        path = f"/v2/models/{NAME}/infer"
        self._connection.request("POST", path, self._body, self._headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"HTTP {response.status}: {content[:200]!r}")
        return content

    def block_us(self) -> list[float]:
        """Time a block of calls."""
        marks = [time.perf_counter()]
        for _ in range(BLOCK):
            self.call()
            marks.append(time.perf_counter())
        return list(np.diff(marks) * 1e6)


@contextlib.contextmanager
def serving(command: list[str], port: int, folder: Path) -> Iterator[psutil.Process]:
    """Run a server until it is ready, and end it after.

    Raises:
        RuntimeError: It did not become ready.
    """
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    log = folder / f"{port}.log"
    with (
        log.open("wb") as words,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=words, stderr=subprocess.STDOUT
        ) as child,
    ):
        try:
            wait_until_ready(port, child, log)
            yield psutil.Process(child.pid)
        finally:
            child.terminate()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()


def wait_until_ready(port: int, child: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the model can be asked."""
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s and child.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", f"/v2/models/{NAME}/ready")
            if connection.getresponse().status == http.client.OK:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{child.args!r}: {log.read_text()[-300:]}")


def mlserver_command(folder: Path, port: int, python: Path) -> list[str]:
    """Configure MLServer in a folder and give its command."""
    settings = {
        "parallel_workers": 0,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "debug": False,
    }
    model = {
        "name": NAME,
        "implementation": "side_mlserver.LiteRt",
        "parameters": {"uri": str(MODEL)},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return [str(python.with_name("mlserver")), "start", str(folder)]


def bare_us(model: LoadedModel, sample: Any) -> list[float]:  # noqa: ANN401 - an array
    """Time a block of the engine alone."""
    info = model.inputs[0]
    marks = [time.perf_counter()]
    for _ in range(BLOCK):
        model.infer([info.encode(sample)])[0].argmax()
        marks.append(time.perf_counter())
    return list(np.diff(marks) * 1e6)


def calls_per_s(port: int, sample: Any, seconds: float) -> float:  # noqa: ANN401 - an array
    """Let several callers ask as fast as they get answers."""
    counts = [0] * CALLERS
    end_s = time.monotonic() + seconds

    def ask(number: int) -> None:
        caller = Caller(port, sample, is_binary=False)
        while time.monotonic() < end_s:
            caller.call()
            counts[number] += 1

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def measure(python: Path, folder: Path, *, is_quick: bool) -> dict[str, float]:
    """Let all take turns."""
    with np.load(SAMPLES) as arrays:
        sample = arrays["x"][:1]
    model = find_engine().load(MODEL.read_bytes())
    ours, theirs = free_port(), free_port()
    side = [sys.executable, str(HERE / "side_secateur.py"), NAME, str(MODEL), str(ours)]
    peer = mlserver_command(folder, theirs, python)
    with serving(side, ours, folder) as us, serving(peer, theirs, folder) as them:
        callers = {
            "binary": Caller(ours, sample, is_binary=True),
            "json": Caller(ours, sample, is_binary=False),
            "mlserver": Caller(theirs, sample, is_binary=False),
        }
        agree(callers["json"].call(), callers["mlserver"].call())
        times: dict[str, list[float]] = {name: [] for name in ("bare", *callers)}
        for number in range((QUICK_ROUNDS if is_quick else ROUNDS) + 1):
            turns = {"bare": bare_us(model, sample[0])}
            turns |= {name: caller.block_us() for name, caller in callers.items()}
            if number:  # the first warms up
                for name, turn in turns.items():
                    times[name] += turn
        seconds = QUICK_LOAD_S if is_quick else LOAD_S
        rates = [calls_per_s(port, sample, seconds) for port in (ours, theirs)]
        memory = [each.memory_info().rss / 1e6 for each in (us, them)]
    median = {name: float(np.median(each)) for name, each in times.items()}
    added = {name: median[name] - median["bare"] for name in callers}
    return {
        "bare_us": round(median["bare"], 1),
        "secateur_binary_added_us": round(added["binary"], 1),
        "secateur_json_added_us": round(added["json"], 1),
        "mlserver_json_added_us": round(added["mlserver"], 1),
        "secateur_json_p99_us": round(float(np.percentile(times["json"], 99)), 1),
        "mlserver_json_p99_us": round(float(np.percentile(times["mlserver"], 99)), 1),
        "added_ratio": round(added["mlserver"] / added["json"], 2),
        "secateur_calls_per_s": round(rates[0], 1),
        "mlserver_calls_per_s": round(rates[1], 1),
        "secateur_mb": round(memory[0], 1),
        "mlserver_mb": round(memory[1], 1),
    }


def agree(one: bytes, other: bytes) -> None:
    """Make sure that both give the same answer.

    Raises:
        RuntimeError: They do not.
    """
    ours, theirs = (np.ravel(json.loads(each)["outputs"][0]["data"]) for each in (one, other))
    if not np.allclose(ours, theirs, atol=1e-6):
        raise RuntimeError("the two servers give different answers")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="less than a minute")
    is_quick: bool = parser.parse_args().quick
    try:
        python = python_with("mlserver", MLSERVER)
        with tempfile.TemporaryDirectory() as folder:
            found = measure(python, Path(folder), is_quick=is_quick)
    except PeerMissingError as error:
        sys.stderr.write(f"MLServer is not to be had here: {error}\n")
        return NOT_HERE
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
