"""Prune one network by Secateur and by its peers, and measure what comes out in one engine.

    python benchmarks/peers/peer_pruning.py [--quick]

The network is MLPerf Tiny's ResNet-8 in float32, the data CIFAR-10. All start from the same
weights, have the same images and the same number of training steps of 64 images, and are
judged by the same engine on the same test images, dense and pruned in turns:

    secateur            ``network`` to half the MACs, by the first 512 images, no label looked
                        at; what is trained after may come out narrower
    torch-pruning       global pruning to the MACs that Secateur's came to, once for what is
                        pruned only and once for what is trained, by three importances; and
                        to more MACs, trained, for latency at equal accuracy
    tf-mot              zeros by magnitude while training, to the same share of zeros as
                        ``secateur prune --method magnitude``

Each is measured as pruned, and after training: Torch-Pruning and TF-MOT by labels, Secateur by
``--distill``, which looks at no label. What a ``.tflite`` file holds is where all begin: its
normalisations are folded into its convolutions. Who has the network as it was trained, with
them, can fine-tune it better than the peers could here. Peers live in environments of their
own, which the first run makes. ``--quick`` takes 3 steps and one search: it shows that all
works, not how well.

The last line is one JSON object: ``rows`` by name with ``accuracy``, ``macs_ratio``,
``latency_ratio``, ``compressed_ratio``, ``prune_s``, ``train_s`` and ``peak_mb``;
``untrained_gain_points`` and ``trained_gain_points``, accuracy of Secateur minus that of the
best Torch-Pruning at the same MACs; ``latency_over_peer``, of the trained two;
``latency_at_accuracy``, of Secateur's trained one over the fastest of Torch-Pruning's, or of
the dense one, that answers as many right.

Exit codes: 0 measured; 1 something failed; 3 the data or a peer is not to be had here.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from environment import PeerMissingError, python_with

from secateur_agent.engine import LoadedModel, find_engine
from secateur_server.pruning.cost import total_macs
from secateur_server.pruning.flatbuffer import Source, read_model
from secateur_server.pruning.graph import read_graph

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DATA = ROOT.parent / "shared" / "data" / "cifar10"
sys.path.insert(0, str(ROOT / "tests"))

from support.tiny_models import RELU, VALID, Network  # noqa: E402 - found by the line above

TORCH = ("torch==2.13.0", "torch-pruning==1.6.1")
TENSORFLOW = (
    "tensorflow-cpu==2.15.1",
    "tf-keras==2.15.1",
    "tensorflow-model-optimization==0.8.0",
)
IMPORTANCES = ("magnitude", "taylor", "hessian")
MORE_MACS = (0.65, 0.8)
"""Shares of the dense network's that peers prune to besides."""
MACS, SPARSITY = 0.5, 0.7
STEPS, QUICK_STEPS = 1000, 3
CUTS, QUICK_CUTS = 60, 8
"""In so many steps peers would take out nine tenths of all channels; they stop on the way."""
CALIBRATION, QUICK_CALIBRATION = 512, 64
ROUNDS, QUICK_ROUNDS = 60, 10
BLOCK = 10
"""Inferences of one network before the next takes its turn."""
SIDE_S = 3_000.0
NOT_HERE = 3

CHILD = """
import sys
from secateur_server.cli.app import run
code = run(sys.argv[1:])
with open("/proc/self/status") as lines:
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(peak / 1e3, file=sys.stderr)
sys.exit(code)
"""

Row = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What all rows share."""

    folder: Path
    steps: int
    cuts: int
    calibration: int
    search: tuple[str, ...]
    more_macs: tuple[float, ...]

    @property
    def dense(self) -> Path:
        """The network to start from."""
        return DATA / "resnet8_float32.tflite"


def prepare(bench: Bench) -> None:
    """Write weights and images in forms that every side reads."""
    graph = read_graph(read_model(bench.dense).tree())
    weights: dict[str, Any] = {}
    for operator in graph.operators:
        if operator.kind in {"CONV_2D", "FULLY_CONNECTED"}:
            number = len(weights) // 2
            weights[f"w{number}"] = graph.values(operator.inputs[1])
            weights[f"b{number}"] = graph.values(operator.inputs[2])
    np.savez(bench.folder / "weights.npz", **weights)
    with np.load(DATA / "cifar10_subset.npz") as arrays:
        x, y, test, answers = (
            arrays[key] for key in ("x_train", "y_train", "x_test", "y_test")
        )
    np.savez(bench.folder / "train.npz", x=x, y=y)
    np.savez(bench.folder / "unlabelled.npz", x=x.astype(np.float32))
    np.savez(bench.folder / "calibration.npz", x=x[: bench.calibration].astype(np.float32))
    np.savez(bench.folder / "evaluation.npz", x=test.astype(np.float32), y=answers)


def rebuild(weights: Path) -> bytes:
    """Write a narrowed ResNet-8 as a ``.tflite`` file like the one it came from."""
    with np.load(weights) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    network = Network()

    def convolve(k: int, x: int, *, stride: int = 1, activation: int = 0) -> int:
        w, b = held[f"w{k}"], held[f"b{k}"]
        return network.conv(x, w, b, stride=stride, activation=activation)

    x = convolve(0, network.input(1, 32, 32, 3), activation=RELU)
    inner = convolve(2, convolve(1, x, activation=RELU))
    x = network.op("ADD", x, inner, fusedActivationFunction=RELU)
    for first in (3, 6):
        inner = convolve(first + 1, convolve(first, x, stride=2, activation=RELU))
        shortcut = convolve(first + 2, x, stride=2)
        x = network.op("ADD", inner, shortcut, fusedActivationFunction=RELU)
    x = network.op(
        "AVERAGE_POOL_2D",
        x,
        padding=VALID,
        filterHeight=8,
        filterWidth=8,
        strideH=8,
        strideW=8,
    )
    flat = network.constant(np.array([1, held["w9"].shape[1]], np.int32))
    x = network.dense(network.op("RESHAPE", x, flat), held["w9"], held["b9"])
    return network.finish(network.op("SOFTMAX", x, beta=1.0))


def run_side(script: str, python: Path, *arguments: object) -> Any:  # noqa: ANN401 - JSON
    """Run a peer's part and give what its last line holds.

    Raises:
        RuntimeError: It failed.
    """
    command = [str(python), str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SIDE_S)
    if done.returncode != 0:
        raise RuntimeError(f"{script}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def secateur(bench: Bench, name: str, *arguments: str) -> tuple[bytes, Row]:
    """Prune by ``secateur prune`` in a process of its own, and give the narrowest level."""
    out = bench.folder / name
    command = [sys.executable, "-c", CHILD, "prune", str(bench.dense), "--levels", "2"]
    for role in ("calibration", "evaluation"):
        command += [f"--{role}", str(bench.folder / f"{role}.npz")]
    began_s = time.monotonic()
    done = subprocess.run(
        [*command, "--out", str(out), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=SIDE_S,
    )
    took_s = time.monotonic() - began_s
    words = done.stderr.strip().splitlines()
    if done.returncode != 0:
        raise RuntimeError(f"{name}: {words[-2] if len(words) > 1 else words}")
    narrowest = len(json.loads((out / "ladder.json").read_text())["levels"]) - 1
    if narrowest == 0:
        raise RuntimeError(f"{name}: nothing was pruned")
    artifact = out / f"level-{narrowest}.tflite"
    return artifact.read_bytes(), {
        "prune_s": took_s,
        "train_s": 0.0,
        "peak_mb": float(words[-1]),
    }


def artifacts(bench: Bench) -> dict[str, tuple[bytes, Row]]:
    """Let everybody prune."""
    f, steps = bench.folder, str(bench.steps)
    python = python_with("torch-pruning", TORCH)
    other = python_with("tf-mot", TENSORFLOW)
    none: Row = {"prune_s": 0.0, "train_s": 0.0, "peak_mb": 0.0}
    found = {"dense": (bench.dense.read_bytes(), none)}
    budget = ("--budget", f"macs={MACS}", *bench.search)
    print("secateur ...", flush=True)
    found["secateur"] = secateur(bench, "network", *budget)
    distill = ("--distill", str(f / "unlabelled.npz"), "--steps", steps)
    content, row = secateur(bench, "distilled", *budget, *distill)
    row["train_s"] = max(0.0, row["prune_s"] - found["secateur"][1]["prune_s"])
    row["prune_s"] -= row["train_s"]
    found["secateur, trained"] = content, row
    share = {like: macs_of(found[like][0]) / macs_of(found["dense"][0]) for like in found}
    wanted = {
        "": (share["secateur"], "0"),
        ", trained": (share["secateur, trained"], steps),
        **{f", trained at {more} of MACs": (more, steps) for more in bench.more_macs},
    }
    for name in IMPORTANCES:
        print(f"torch-pruning {name} ...", flush=True)
        told: list[object] = [f / "weights.npz", f / "train.npz", name, bench.cuts]
        for kind, asked in wanted.items():
            told += [f / f"{name}{kind}.npz", *asked]
        rows = run_side("side_torch_pruning.py", python, *told)
        for kind, row in zip(wanted, rows, strict=True):
            found[f"torch-pruning {name}{kind}"] = rebuild(f / f"{name}{kind}.npz"), row
    print("zeros ...", flush=True)
    zeros = ("--method", "magnitude", "--sparsity", str(SPARSITY))
    found["secateur zeros"] = secateur(bench, "zeros", *zeros)
    row = run_side(
        "side_tfmot.py", other, f / "weights.npz", f / "train.npz", f / "mot", SPARSITY, steps
    )
    found["tf-mot zeros, trained"] = (f / "mot.tflite").read_bytes(), row
    return found


def measure(bench: Bench, found: dict[str, tuple[bytes, Row]], rounds: int) -> dict[str, Row]:
    """Measure accuracy, and latency in turns."""
    engine = find_engine()
    with np.load(bench.folder / "evaluation.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    models = {name: engine.load(content) for name, (content, _) in found.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            times[name] += [timed(model, x[0]) for _ in range(BLOCK)]
    macs = {name: macs_of(content) for name, (content, _) in found.items()}
    median = {name: float(np.median(each)) for name, each in times.items()}
    packed = {name: len(gzip.compress(content)) for name, (content, _) in found.items()}
    return {
        name: {
            "accuracy": round(accuracy(models[name], x, y), 4),
            "macs_ratio": round(macs[name] / macs["dense"], 3),
            "latency_ratio": round(median[name] / median["dense"], 3),
            "compressed_ratio": round(packed[name] / packed["dense"], 3),
            **{key: round(row[key], 1) for key in ("prune_s", "train_s", "peak_mb")},
        }
        for name, (_, row) in found.items()
    }


def macs_of(content: bytes) -> int:
    """Count the multiply-accumulates of an artifact."""
    return total_macs(read_graph(Source(Path("pruned"), content).tree()))


def timed(model: LoadedModel, image: Any) -> float:  # noqa: ANN401 - an array
    """Time one inference, seconds."""
    codes = model.inputs[0].encode(image)
    began_s = time.perf_counter()
    model.infer([codes])
    return time.perf_counter() - began_s


def accuracy(model: LoadedModel, x: Any, y: Any) -> float:  # noqa: ANN401 - arrays
    """Give top-1."""
    info = model.inputs[0]
    right = sum(
        int(model.infer([info.encode(image)])[0].argmax() == label)
        for image, label in zip(x, y, strict=True)
    )
    return right / len(y)


def summary(rows: dict[str, Row]) -> Row:
    """Compare with the best of Torch-Pruning, as pruned and trained."""
    peers = {name: row for name, row in rows.items() if name.startswith("torch-pruning")}
    at_same_macs = [row for name, row in peers.items() if name.endswith("trained")]
    best = max(at_same_macs, key=lambda row: row["accuracy"])
    plain = max(row["accuracy"] for name, row in peers.items() if "trained" not in name)
    ours, trained = rows["secateur"], rows["secateur, trained"]
    as_right = [
        row["latency_ratio"]
        for row in (rows["dense"], *peers.values())
        if row["accuracy"] >= trained["accuracy"]
    ]
    return {
        "rows": rows,
        "untrained_gain_points": round(100 * (ours["accuracy"] - plain), 1),
        "trained_gain_points": round(100 * (trained["accuracy"] - best["accuracy"]), 1),
        "latency_over_peer": round(trained["latency_ratio"] / best["latency_ratio"], 3),
        "latency_at_accuracy": round(trained["latency_ratio"] / min(as_right, default=1.0), 3),
    }


def main() -> int:
    """Prune, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="about a minute")
    is_quick: bool = parser.parse_args().quick
    if not DATA.exists():
        sys.stderr.write(f"{DATA} is not here\n")
        return NOT_HERE
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            Path(folder),
            QUICK_STEPS if is_quick else STEPS,
            QUICK_CUTS if is_quick else CUTS,
            QUICK_CALIBRATION if is_quick else CALIBRATION,
            ("--search", "1") if is_quick else (),
            () if is_quick else MORE_MACS,
        )
        try:
            prepare(bench)
            rows = measure(bench, artifacts(bench), QUICK_ROUNDS if is_quick else ROUNDS)
        except PeerMissingError as error:
            sys.stderr.write(f"a peer is not to be had here: {error}\n")
            return NOT_HERE
        except RuntimeError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    for name, row in rows.items():
        print(f"{name:34} " + " ".join(f"{key} {value}" for key, value in row.items()))
    print(json.dumps(summary(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
