"""What the agent takes of a device: memory, processor when idle, time to the first inference.

Starts a real broker, a real coordinator's folder of artifacts, and a real agent that serves
the digit model; compares it with a bare script that runs the same model with the same
engine. The last line is one JSON object:

    extra_mb        PSS of the agent's two processes minus that of the bare script
    idle_cpu_share  of one core, with 10 s telemetry, while no frame comes
    start_s         from the start of the process to the first answered inference
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from secateur_agent.adapters.store import Store
from secateur_agent.core.swap import Artifact, Target
from secateur_server.adapters.embedded_broker import EmbeddedBroker
from secateur_server.registry.registry import Registry

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"

CONFIG = """\
device = "footprint"
state_dir = "{state}"
[trust]
accept_unsigned = true

[broker]
url = "{broker}"
[transfer]
spread_s = 0.0

[telemetry]
period_s = 10.0
[[models]]
name = "digits"
deadline_ms = 1000.0
{source}
"""

SOURCE = """\
[models.source]
kind = "replay"
path = "{data}"
rate_hz = {rate_hz}
"""

BARE = """
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
detail = interpreter.get_input_details()[0]
for _ in range(1000):
    interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    interpreter.invoke()
    interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
print("ready", flush=True)
time.sleep(3600)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--no-standby", action="store_true", help="without a level at hand")
    options = parser.parse_args()
    idle_s, starts = (15.0, 1) if options.quick else (300.0, 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commit_a_model(folder)
        broker = EmbeddedBroker(folder / "broker")
        try:
            start_s = min(measure_start(folder, broker.url) for _ in range(starts))
            more = "standby = false" if options.no_standby else ""
            agent_mb, idle_share = measure_idle(folder, broker.url, idle_s, more)
        finally:
            broker.stop()
        bare_mb = measure_bare(folder)
    print(f"agent {agent_mb:.1f} MB, bare script {bare_mb:.1f} MB (PSS)")
    last = {
        "extra_mb": round(agent_mb - bare_mb, 1),
        "idle_cpu_share": round(idle_share, 4),
        "start_s": round(start_s, 2),
    }
    print(json.dumps(last))


def commit_a_model(folder: Path) -> None:
    """Let the agent's folder hold a committed level 0, as after a first update."""
    ladder_dir = folder / "ladder"
    # In a process of its own: the engine's pages would be shared with ours, and halved.
    prune = [sys.executable, "-m", "secateur_server", "prune", str(DIGITS / "digits.tflite")]
    prune += ["--calibration", str(DIGITS / "calibration.npz")]
    prune += ["--evaluation", str(DIGITS / "evaluation.npz")]
    prune += ["--method", "channel", "--levels", "2", "--out", str(ladder_dir)]
    subprocess.run(prune, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    registry = Registry(folder / "registry")
    published = registry.publish(ladder_dir)
    store = Store(folder / "state")
    store.open()
    for blob in registry.blobs_dir.iterdir():
        if blob.suffix:
            continue  # the same once more, compressed
        store.blob_path(blob.name).write_bytes(blob.read_bytes())
    manifest = published.ladder.levels[0]
    store.commit("digits", Artifact(Target(published.ref, 0), manifest))


def start(folder: Path, broker_url: str, model: str) -> psutil.Popen:
    """Start an agent."""
    config = folder / "agent.toml"
    text = CONFIG.format(state=folder / "state", broker=broker_url, source=model)
    config.write_text(text)
    return psutil.Popen(
        [sys.executable, "-m", "secateur_agent", "run", "--config", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def measure_start(folder: Path, broker_url: str) -> float:
    """Time from the start to the first answer, over HTTP as a caller would see it."""
    socket_path = folder / "http.sock"
    model = f'\n[http]\nlisten = "unix:{socket_path}"\n'
    began_s = time.monotonic()
    process = start(folder, broker_url, model)
    try:
        wait_until(lambda: is_ready(socket_path))
        return time.monotonic() - began_s
    finally:
        stop(process)


def is_ready(socket_path: Path) -> bool:
    """Ask whether the model answers."""
    import socket  # noqa: PLC0415 - only here

    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(socket_path))
            connection.sendall(b"GET /v2/models/digits/ready HTTP/1.1\r\nHost: x\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def measure_idle(
    folder: Path, broker_url: str, idle_s: float, more: str
) -> tuple[float, float]:
    """Serve some frames, then idle; give memory in MB and the share of one core."""
    source = SOURCE.format(data=DIGITS / "evaluation.npz", rate_hz=0.0001)
    process = start(folder, broker_url, f"{more}\n{source}")
    try:
        wait_until(lambda: len(process.children()) == 1)
        time.sleep(10.0)  # the standby is probed and loaded, the first frame answered
        wait_until(lambda: len(process.children(recursive=True)) == 1)
        both = [process, *process.children(recursive=True)]
        before = [each.cpu_times() for each in both]
        time.sleep(idle_s)
        after = [each.cpu_times() for each in both]
        used_s = sum(
            late.user + late.system - early.user - early.system
            for early, late in zip(before, after, strict=True)
        )
        memory = [each.memory_full_info().pss / 1e6 for each in both]
        print("control {:.1f} MB, inference {:.1f} MB".format(*memory))
        return sum(memory), used_s / idle_s
    finally:
        stop(process)


def measure_bare(folder: Path) -> float:
    """Run the bare script and give its memory, MB."""
    process = psutil.Popen(
        [sys.executable, "-c", BARE, str(folder / "ladder" / "level-0.tflite")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.stdout.readline()
        return float(process.memory_full_info().pss) / 1e6
    finally:
        process.kill()
        process.wait()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for a state, a minute at most."""
    until = time.monotonic() + 60
    while not holds():
        if time.monotonic() > until:
            msg = "the agent did not come up"
            raise RuntimeError(msg)
        time.sleep(0.01)


def stop(process: psutil.Popen) -> None:
    """Ask the agent to end, and wait."""
    process.terminate()
    process.wait(30)


if __name__ == "__main__":
    main()
