"""How fast a device that is pressed makes itself narrower, with no broker anywhere.

A real agent serves the digit model and keeps the next level standing by; a caller asks it for
inferences over HTTP without pause. Then the memory that the device plays to have runs short.
Measured is the time from there to the first answer of the narrower level. The last line is
one JSON object:

    step_down_ms  the longest of all runs, milliseconds
    lost          calls that got no answer
"""

import argparse
import http.client
import json
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from agent_footprint import commit_a_model

CONFIG = """\
device = "step-down"
state_dir = "{folder}/running"
[trust]
accept_unsigned = true

[broker]
url = "mqtt://127.0.0.1:9"
[http]
listen = "unix:{folder}/http.sock"
[[models]]
name = "digits"
deadline_ms = 1000.0
[simulation]
hardware_class = "pressed"
memory_total_bytes = 1000000000
overrides = "{folder}/pressure.json"
"""

PAUSE_S = 0.002
"""Between two calls: the caller is not what is measured."""

Json = dict[str, object]


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    runs = 3 if parser.parse_args().quick else 20
    took_ms: list[float] = []
    lost = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commit_a_model(folder)
        for _ in range(runs):
            shutil.copytree(folder / "state", folder / "running")
            milliseconds, failed = measure(folder)
            took_ms.append(milliseconds)
            lost += failed
            shutil.rmtree(folder / "running")
    print(f"{runs} runs: median {statistics.median(took_ms):.1f} ms")
    print(json.dumps({"step_down_ms": round(max(took_ms), 1), "lost": lost}))


def measure(folder: Path) -> tuple[float, int]:
    """Run one agent until it has stepped down; give milliseconds and calls that failed."""
    config, pressure = folder / "agent.toml", folder / "pressure.json"
    config.write_text(CONFIG.format(folder=folder))
    pressure.unlink(missing_ok=True)
    log_path = folder / "agent.log"
    with log_path.open("wb") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "secateur_agent", "run", "--config", str(config)],
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: b"stands by" in log_path.read_bytes())
        caller = UnixConnection(folder / "http.sock")
        body = request_body(caller)
        assert_level(call(caller, body), 0)
        time.sleep(1.2)  # a level is left alone for a second after it began to serve
        began_s = time.monotonic()
        pressure.write_text('{"memory_available_bytes": 1000}')
        return wait_for_narrower(caller, body, began_s)
    finally:
        process.terminate()
        process.wait(30)


def wait_for_narrower(
    caller: http.client.HTTPConnection, body: bytes, began_s: float
) -> tuple[float, int]:
    """Call until another level answers."""
    failed = 0
    while True:
        answer = call(caller, body)
        failed += answer is None
        if answer is not None and level_of(answer) > 0:
            return (time.monotonic() - began_s) * 1e3, failed
        time.sleep(PAUSE_S)


def request_body(caller: http.client.HTTPConnection) -> bytes:
    """Describe one input, zeros."""
    caller.request("GET", "/v2/models/digits")
    (tensor,) = json.loads(caller.getresponse().read())["inputs"]
    count = 1
    for size in tensor["shape"]:
        count *= abs(size)
    shape = [abs(size) for size in tensor["shape"]]
    wanted = {
        "name": tensor["name"],
        "datatype": tensor["datatype"],
        "shape": shape,
        "data": [0.0] * count,
    }
    return json.dumps({"inputs": [wanted]}).encode()


def call(caller: http.client.HTTPConnection, body: bytes) -> Json | None:
    """Ask for one inference; ``None``: it got no answer."""
    caller.request("POST", "/v2/models/digits/infer", body)
    response = caller.getresponse()
    content = response.read()
    if response.status != http.client.OK:
        return None
    answer: Json = json.loads(content)
    return answer


def level_of(answer: Json) -> int:
    """Say which level answered."""
    parameters = answer["parameters"]
    if not isinstance(parameters, dict):
        raise TypeError(parameters)
    return int(parameters["level"])


def assert_level(answer: Json | None, level: int) -> None:
    """Make sure that the run begins where it should."""
    if answer is None or level_of(answer) != level:
        msg = f"level {level} does not answer: {answer}"
        raise RuntimeError(msg)


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for a state, a minute at most."""
    until = time.monotonic() + 60
    while not holds():
        if time.monotonic() > until:
            msg = "no level came to stand by"
            raise RuntimeError(msg)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
