"""Measure what pruning keeps, saves and costs, on real networks and real data.

    python benchmarks/pruning.py [--quick] [--only WORD ...] [--write] [--list]

Each part prunes one network to one level with ``secateur prune``, in a process of its own,
and reads what the ladder says: accuracy on samples that did not calibrate, latency of one
thread with the dense level and the pruned one in turns, medians. What was measured is kept
in ``benchmarks/results/pruning.json``, part by part, so that the long ones can be run alone:
``--only distilled`` runs the parts whose name holds that word. ``--write`` puts the table of
all that is kept into ``docs/pruning.md``. ``--quick`` takes fewer samples and steps, tries one
network per level, runs two parts at a time and keeps nothing: it shows in less than a minute
that all works, not how well.

The last line is one JSON object: by network and level ``accuracy``, ``macs_ratio``,
``latency_ratio``, ``bytes_ratio``, ``prune_s`` (the whole command) and ``peak_mb`` (resident
memory of the process at its highest).

Exit codes: 0 all that was asked for was measured; 1 some of it was not, stderr says what and
why; 3 there is nothing to measure: the data is not here, or no part has this name.
"""

import argparse
import datetime as dt
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data"
RESULTS = REPOSITORY / "benchmarks" / "results" / "pruning.json"
DOCUMENT = REPOSITORY / "docs" / "pruning.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

KEYS = ("accuracy", "macs_ratio", "latency_ratio", "bytes_ratio", "prune_s", "peak_mb")
MADE = ("at", "machine", "versions")
"""When, on what and by what a row was measured."""

CALIBRATION = 2048
"""Images that calibrate a network for images; of key words, half of all samples."""
QUICK_CALIBRATION, QUICK_EVALUATION = 64, 100
QUICK_UNLABELLED, QUICK_STEPS = 256, 8
QUICK_AT_A_TIME = 2
QUICK = ("--search", "1")
TIMEOUT_S = 3 * 3600
EXIT_FAILED, EXIT_NOTHING = 1, 3

CHILD = """
import sys
from secateur_server.cli.app import run
code = run(sys.argv[1:])
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print("peak_kb", line.split()[1], file=sys.stderr)
sys.exit(code)
"""

Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One network at one level.

    Attributes:
        network: By the name of its file.
        level: As in the results.
        arguments: Of ``secateur prune``, besides files.
        uniform_macs: Take the smallest even ratio that still leaves so many MACs.
        steps: Of distillation; 0: none.
    """

    network: str
    level: str
    arguments: tuple[str, ...] = ()
    uniform_macs: float = 0.0
    steps: int = 0

    @property
    def name(self) -> str:
        """As ``--only`` looks for it."""
        return f"{self.network}/{self.level}"


NETWORKS = {
    "resnet8_float32": "cifar10",
    "resnet8_int8": "cifar10",
    "kws_hybrid": "kws",
    "kws_int8": "kws",
}
"""Where the file of each is."""


def parts() -> Iterator[Part]:
    """List all parts."""
    for network in NETWORKS:
        yield Part(network, "channel-0.125", ("--ratio", "0.125"))
        yield Part(network, "channel-0.25", ("--ratio", "0.25"))
        yield Part(network, "network-macs-0.6", ("--budget", "macs=0.6"))
        yield Part(network, "uniform-macs-0.6", uniform_macs=0.6)
        yield Part(network, "network-latency-0.6", ("--budget", "latency=0.6"))
    budget = ("--budget", "macs=0.6")
    yield Part("resnet8_float32", "network-macs-0.6-distilled", budget, steps=2000)


@dataclass(frozen=True)
class Files:
    """Sample files of all networks, in one temporary folder."""

    folder: Path
    data: Path
    is_quick: bool
    made: set[str] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)

    def model(self, network: str) -> Path:
        """Give a network's file."""
        return self.data / NETWORKS[network] / f"{network}.tflite"

    def samples(self, network: str) -> tuple[Path, Path, Path]:
        """Give files that calibrate, evaluate and distill; no sample is in two of them.

        But what calibrates may distill as well: neither looks at a label.
        """
        roles = ("calibration", "evaluation", "unlabelled")
        with self.lock:
            if network not in self.made:
                for role, arrays in zip(roles, self._split(network), strict=True):
                    np.savez(self.folder / f"{network}.{role}.npz", **arrays)
                self.made.add(network)
        first, second, third = (self.folder / f"{network}.{role}.npz" for role in roles)
        return first, second, third

    def _split(self, network: str) -> tuple[Row, Row, Row]:
        calibration, evaluation, unlabelled = CALIBRATION, 1_000_000, 1_000_000
        if self.is_quick:
            calibration, evaluation = QUICK_CALIBRATION, QUICK_EVALUATION
            unlabelled = QUICK_UNLABELLED
        if NETWORKS[network] == "cifar10":
            with np.load(self.data / "cifar10" / "cifar10_subset.npz") as held:
                train, test, y = held["x_train"], held["x_test"], held["y_test"]
            return (
                {"x": train[:calibration]},
                {"x": test[:evaluation], "y": y[:evaluation]},
                {"x": train[:unlabelled]},
            )
        with np.load(self.data / "kws" / "kws01.npz") as held:
            x, y = held["x"], held["y"]
        if network == "kws_hybrid":
            x = ((x.astype(np.float32) - 83) * 0.5847029).astype(np.float32)
        fits = {"x": _without(x[0::2], x[1::2])[:calibration]}
        return fits, {"x": x[1::2][:evaluation], "y": y[1::2][:evaluation]}, fits


def _without(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Leave out rows that are among the others: the key words hold a few recordings twice."""
    known = {each.tobytes() for each in others}
    return rows[[each.tobytes() not in known for each in rows]]


def uniform_ratio(model: Path, share: float) -> float:
    """Give the largest even ratio that leaves at least a share of the MACs.

    At least, so that the comparison never favours the uneven one.
    """
    from secateur_server.pruning.channels import find_channels  # noqa: PLC0415 - slow
    from secateur_server.pruning.cost import total_macs  # noqa: PLC0415
    from secateur_server.pruning.flatbuffer import read_model  # noqa: PLC0415
    from secateur_server.pruning.graph import read_graph  # noqa: PLC0415
    from secateur_server.pruning.narrowing import everything, narrow  # noqa: PLC0415
    from secateur_server.pruning.rules import RULES  # noqa: PLC0415
    from secateur_server.pruning.selection import free_groups  # noqa: PLC0415

    graph = read_graph(read_model(model).tree())
    channels = find_channels(graph, RULES)

    def left(ratio: float) -> float:
        stays = everything(channels)
        for group in free_groups(graph, channels):
            stays[group.channels[max(1, group.size - round(ratio * group.size)) :]] = False
        return total_macs(narrow(graph, channels, stays)) / total_macs(graph)

    return max(step / 100 for step in range(1, 100) if left(step / 100) >= share)


def arguments_of(part: Part, files: Files, out: Path) -> list[str]:
    """Give the arguments of ``secateur`` for a part."""
    calibration, evaluation, unlabelled = files.samples(part.network)
    said = ["prune", str(files.model(part.network)), "--json", *part.arguments]
    said += ["--calibration", str(calibration), "--evaluation", str(evaluation)]
    said += ["--out", str(out)]
    if part.uniform_macs:
        ratio = uniform_ratio(files.model(part.network), part.uniform_macs)
        said += ["--ratio", f"{ratio:g}"]
    if part.steps:
        steps = QUICK_STEPS if files.is_quick else part.steps
        said += ["--distill", str(unlabelled), "--steps", str(steps)]
    return said + list(QUICK if files.is_quick else ())


def run(part: Part, files: Files) -> Row:
    """Prune in a process of its own and read what came of it.

    Raises:
        RuntimeError: It failed; the message is its own last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        said = arguments_of(part, files, Path(folder) / "ladder")
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-P", "-c", CHILD, *said],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        taken_s = time.perf_counter() - started
    peak = re.search(r"peak_kb (\d+)", done.stderr)
    if done.returncode or peak is None:
        told = [line for line in done.stderr.splitlines() if not line.startswith("peak_kb")]
        raise RuntimeError(told[-1] if told else f"exit code {done.returncode}")
    dense, pruned = json.loads(done.stdout)["levels"][:2]
    return {
        **_row(dense, pruned),
        "prune_s": round(taken_s, 1),
        "peak_mb": round(int(peak[1]) * 1024 / 1e6, 1),
        "dense": _row(dense, dense),
        "method": pruned["method"],
        "at": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "load": round(os.getloadavg()[0], 1),
    }


def _row(dense: Row, level: Row) -> Row:
    accuracy = level["accuracy"]
    return {
        "accuracy": round(accuracy["value"], 4),
        "low": round(accuracy["low"], 4),
        "high": round(accuracy["high"], 4),
        "samples": accuracy["samples"],
        "macs_ratio": round(level["macs"] / dense["macs"], 4),
        "latency_ratio": round(level["latency"]["p50_ms"] / dense["latency"]["p50_ms"], 4),
        "bytes_ratio": round(level["size_bytes"] / dense["size_bytes"], 4),
        "p50_ms": round(level["latency"]["p50_ms"], 5),
    }


def machine() -> str:
    """Say what processor this is."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        told = ""
    name = re.search(r"^model name\s*: (.+)$", told, re.MULTILINE)
    return f"{name[1] if name else platform.machine()}, {os.cpu_count()} cores"


def versions() -> str:
    """Say what did the work."""
    named = ("secateur", "ai-edge-litert", "numpy")
    told = [f"{name} {importlib.metadata.version(name)}" for name in named]
    return ", ".join([*told, f"Python {platform.python_version()}"])


def measure(asked: Sequence[Part], files: Files, kept: dict[str, Row]) -> list[str]:
    """Run parts and keep what they give; say what failed.

    One after the other, but for quick ones: two at a time would disturb each other's times.
    """
    if files.is_quick:
        asked = sorted(asked, key=lambda part: -part.steps)  # the longest beside all others
    failures: list[str] = []
    with ThreadPoolExecutor(QUICK_AT_A_TIME if files.is_quick else 1) as pool:
        found = zip(asked, pool.map(lambda part: _tried(part, files), asked), strict=True)
        disturbed = []
        for part, row in found:
            if files.is_quick and isinstance(row, str):
                disturbed.append(part)  # beside another, all widths may look slower
            else:
                _keep(part, row, files, kept, failures)
    for part in disturbed:
        _keep(part, _tried(part, files), files, kept, failures)
    return failures


def _keep(
    part: Part, row: Row | str, files: Files, kept: dict[str, Row], failures: list[str]
) -> None:
    if isinstance(row, str):
        failures.append(f"{part.name}: {row}")
        return
    kept[part.name] = row
    shown = {key: row[key] for key in KEYS}
    print(part.name, shown, file=sys.stderr, flush=True)
    if not files.is_quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _tried(part: Part, files: Files) -> Row | str:
    """Give a part's row, or why there is none."""
    if part.steps and importlib.util.find_spec("optax") is None:
        return "secateur[distill] is not installed"
    try:
        return run(part, files)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return str(error)


def summary(kept: dict[str, Row]) -> dict[str, dict[str, Row]]:
    """Give the numbers by network and level, the dense level among them."""
    found: dict[str, dict[str, Row]] = {}
    for part in parts():
        row = kept.get(part.name)
        if row is None:
            continue
        nothing = {"prune_s": 0.0, "peak_mb": 0.0}
        levels = found.setdefault(part.network, {"dense": {**row["dense"], **nothing}})
        levels[part.level] = row
    return {
        network: {level: {key: row[key] for key in KEYS} for level, row in levels.items()}
        for network, levels in found.items()
    }


def table(kept: dict[str, Row]) -> str:
    """Lay all that is kept out as Markdown."""
    lines = [
        "| network | level | accuracy | 95 % | MACs | latency | bytes | time | memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    known: set[str] = set()
    for part in parts():
        row = kept.get(part.name)
        if row is None:
            lines.append(f"| {part.network} | {part.level} | not measured | | | | | | |")
            continue
        if part.network not in known:
            known.add(part.network)
            lines.append(_line(part.network, "dense", row["dense"], ""))
        taken = f"{row['prune_s']:.0f} s | {row['peak_mb']:.0f} MB"
        lines.append(_line(part.network, part.level, row, taken))
    told = sorted(
        {f"{row['at']}, {row['machine']}, {row['versions']}" for row in kept.values()}
    )
    busy = max(row["load"] for row in kept.values())
    notes = "".join(f"\n- Measured {each}." for each in told)
    return (
        "\n".join(lines)
        + f"\n{notes}\n- The machine did other work meanwhile: its load was up to {busy:g}. "
        "Ratios are from levels in turns; times are not to be trusted to a second."
    )


def _line(network: str, level: str, row: Row, taken: str) -> str:
    return (
        f"| {network} | {level} | {row['accuracy']:.3f} (n={row['samples']}) "
        f"| {row['low']:.3f} to {row['high']:.3f} | {row['macs_ratio']:.2f} "
        f"| {row['latency_ratio']:.2f} ({row['p50_ms'] * 1e3:.0f} us) "
        f"| {row['bytes_ratio']:.2f} | {taken or '|'} |"
    )


def write_table(kept: dict[str, Row]) -> None:
    """Put the table between its markers.

    Raises:
        ValueError: The markers are gone.
    """
    text = DOCUMENT.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT} has no {BEGIN} .. {END}")
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table(kept)}\n{END}{after}", encoding="utf-8")


def chosen(only: Sequence[str]) -> list[Part]:
    """Give the parts whose name holds any of the words; of none, all."""
    return [part for part in parts() if not only or any(word in part.name for word in only)]


def main() -> int:
    """Measure, keep, print."""
    parser = argparse.ArgumentParser(description="Measure pruning on real networks.")
    parser.add_argument("--quick", action="store_true", help="few samples; keeps nothing")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="parts by name")
    parser.add_argument("--write", action="store_true", help="the table into the document")
    parser.add_argument("--list", action="store_true", help="name the parts and end")
    parser.add_argument("--data", type=Path, default=DATA, help="models and samples")
    given = parser.parse_args()
    asked = chosen(given.only)
    if given.list:
        print("\n".join(part.name for part in asked))
        return 0
    missing = [name for name in NETWORKS.values() if not (given.data / name).is_dir()]
    if missing or not asked:
        why = f"{given.data / missing[0]} is not here" if missing else "no part has this name"
        print(f"skipped: {why}", file=sys.stderr)
        print(json.dumps({}))
        return EXIT_NOTHING
    kept: dict[str, Row] = {}
    if RESULTS.exists() and not given.quick:
        kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        failures = measure(asked, Files(Path(folder), given.data, given.quick), kept)
    for failure in failures:
        print(f"not measured: {failure}", file=sys.stderr)
    if given.write:
        write_table(kept)
    print(table(kept))
    print(json.dumps(summary(kept)))
    return EXIT_FAILED if failures else 0


if __name__ == "__main__":
    sys.exit(main())
