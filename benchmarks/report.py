"""Run every benchmark and write down what was measured.

    python benchmarks/report.py [--quick | --full | --page] [--only NAME ...]

Each script of this folder, and each ``peer_*.py`` of ``peers/``, runs alone, one after the
other, in a process of its own; its last line is one JSON object. The page `docs/benchmarks.md`
says what came out, on which machine and of which versions, and what was aimed for;
`docs/benchmarks.json` holds the raw objects, and those of earlier runs for scripts that did
not run this time.

All of it takes at most half an hour on two cores: what would take longer (`TOO_LONG`) runs with
``--quick``, which the page says, unless a full run of it is kept already; then the quick one
shows that the script still works, and the kept figures stay. ``--full`` lets those measure in
full, which takes hours; ``--quick`` lets scripts take less than a minute, but for
``peer_pruning``, which takes a little more, and ``wire_bytes``, which takes three: a metered
device may be silent for long, and more compressed it does not come to rest; ``--page`` runs
nothing and writes the page from what is kept.

The last line is one JSON object: the script's name to its own object.

Exit codes: 0 all ran; 1 some did not, stderr says which and why.
"""

import argparse
import datetime as dt
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks.md"
RAW = ROOT / "docs" / "benchmarks.json"
RUN_S, FULL_RUN_S = 900.0, 14_400.0
"""Longest that one script may take, seconds; with ``--full``."""

NOT_BENCHMARKS = {"report.py", "paced_relay.py"}
NOT_HERE = 3
"""What a script exits with where a peer or its data is not to be had."""

TOO_LONG = frozenset(
    {
        "agent_footprint",
        "coordinator_throughput",
        "distillation",
        "ota_transfer",
        "planner_quality",
        "pruning",
        "weight_pruning",
        "wire_bytes",
    }
)
"""Scripts that need minutes to an hour each to measure well."""
DISTRIBUTIONS = ("secateur", "ai-edge-litert", "numpy", "paho-mqtt", "pydantic", "sqlalchemy")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a figure of a script means, and what was aimed for."""

    script: str
    key: str
    means: str
    goal: str = ""


CLAIMS = (
    Claim("agent_overhead", "p50_ratio", "agent's loop over a bare engine loop, p50", "≤ 1.05"),
    Claim("agent_overhead", "p99_ratio", "the same, p99", "≤ 1.2"),
    Claim("agent_overhead", "http_added_us", "what a binary call over HTTP adds, µs"),
    Claim("agent_footprint", "extra_mb", "memory above a bare script, MB", "≤ 40"),
    Claim("agent_footprint", "idle_cpu_share", "of one core, idle, 10 s telemetry", "≤ 0.01"),
    Claim("agent_footprint", "start_s", "start to first inference, s", "≤ 2"),
    Claim("dependency_sizes", "total_bytes", "disk of secateur[agent], engine included, bytes"),
    Claim("swap_gap", "lost", "inferences lost in all swaps", "0"),
    Claim("swap_gap", "gap_ratio", "largest gap in swaps over p99.9 gap without", "≤ 1.5"),
    Claim("swap_gap", "rss_drift_ratio", "memory after all swaps over before", "≤ 1.02"),
    Claim(
        "step_down", "step_down_ms", "from crossing a limit to the narrower level, ms", "≤ 100"
    ),
    Claim("wire_bytes", "normal_mb_month", "on the wire in a month, MB", "≤ 72"),
    Claim("wire_bytes", "metered_mb_month", "the same, metered, MB", "≤ 8"),
    Claim("planner_quality", "miss_rate", "deadline misses", "≤ 0.01"),
    Claim("planner_quality", "regret_points", "accuracy points below an oracle", "≤ 1"),
    Claim("planner_quality", "switches_per_device_hour", "switches", "≤ 2"),
    Claim("planner_quality", "beats_all_baselines", "better than every fixed rule", "true"),
    Claim(
        "coordinator_throughput",
        "ratio_to_receive",
        "only receiving over coordinating",
        "≥ 0.3",
    ),
    Claim("coordinator_throughput", "devices_per_core", "at a message per 10 s", "≥ 80,000"),
    Claim("coordinator_throughput", "decision_p99_ms", "telemetry to decision, p99, ms"),
    Claim(
        "coordinator_throughput", "cost_growth_ratio", "cost with many devices over few", "≈ 1"
    ),
    Claim(
        "dashboard_load", "first_paint_s", "the fleet page of 10,000 devices, first paint, s"
    ),
    Claim("dashboard_load", "update_p95_s", "telemetry to screen, p95, s", "≤ 1"),
    Claim("dashboard_load", "server_cpu_share", "the dashboard's share of a core", "≤ 0.5"),
    Claim("dashboard_load", "server_rss_mb", "its memory, MB"),
    Claim("ota_transfer", "http_ratio_1", "HTTP to one device over a plain download"),
    Claim("ota_transfer", "http_ratio_20", "the same, to twenty"),
    Claim("ota_transfer", "mqtt_ratio_1", "blocks over MQTT over a plain download"),
    Claim("ota_transfer", "rss_growth_mb", "memory of the agent while it fetches, MB"),
    Claim("ota_transfer", "resume_overhead_bytes", "fetched twice after a kill", "≤ a block"),
    Claim(
        "acknowledgement", "ack_p95_ms", "desired change to acknowledgement, p95, ms", "≤ 1000"
    ),
    Claim(
        "acknowledgement", "serving_p95_ms", "from it until a held level serves, ms", "≤ 100"
    ),
    Claim(
        "acknowledgement", "standby_p95_ms", "the same, of the level that stands by", "≤ 100"
    ),
    Claim("peer_serving", "secateur_binary_added_us", "a binary call to the agent adds, µs"),
    Claim("peer_serving", "secateur_json_added_us", "a call in JSON to the agent adds, µs"),
    Claim("peer_serving", "mlserver_json_added_us", "a call in JSON to MLServer adds, µs"),
    Claim("peer_serving", "added_ratio", "MLServer's addition over the agent's"),
    Claim("peer_serving", "secateur_calls_per_s", "calls a second of four callers, agent"),
    Claim("peer_serving", "mlserver_calls_per_s", "the same, MLServer"),
    Claim("peer_serving", "secateur_mb", "memory of the process that serves, agent, MB"),
    Claim("peer_serving", "mlserver_mb", "the same, MLServer, MB"),
    Claim("peer_updating", "message_over_http", "one MQTT message over a plain download, time"),
    Claim("peer_updating", "message_client_mb", "memory it takes of the receiver, MB"),
    Claim("peer_updating", "message_broker_mb", "memory it takes of the broker, MB"),
    Claim("peer_updating", "http_client_mb", "memory a plain download takes, MB"),
    Claim(
        "peer_pruning",
        "untrained_gain_points",
        "accuracy above the best of Torch-Pruning at the same MACs, as pruned, points",
    ),
    Claim("peer_pruning", "trained_gain_points", "the same, both trained alike, points"),
    Claim("peer_pruning", "latency_over_peer", "latency over that peer's"),
    Claim(
        "peer_pruning",
        "latency_at_accuracy",
        "latency over the fastest peer's that answers as many right",
    ),
)


class NotHereError(Exception):
    """A script says that a peer or its data is not to be had on this machine."""


def scripts() -> dict[str, Path]:
    """Find all benchmarks, by name."""
    paths = [*FOLDER.glob("*.py"), *FOLDER.glob("peers/peer_*.py")]
    return {path.stem: path for path in sorted(paths) if path.name not in NOT_BENCHMARKS}


def run(name: str, *, is_quick: bool, limit_s: float = RUN_S) -> dict[str, Any]:
    """Run one script and give the object of its last line.

    Raises:
        RuntimeError: It failed, or its last line is no object.
        NotHereError: What it measures is not to be had.
    """
    began_s = time.monotonic()
    command = [sys.executable, str(scripts()[name]), *(["--quick"] if is_quick else [])]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"took longer than {limit_s:.0f} s") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode == NOT_HERE:
        raise NotHereError((done.stderr.strip().splitlines() or ["no word"])[-1][:300])
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no word"])[-1][:300])
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        raise RuntimeError("its last line is no JSON object") from error
    return {
        "found": found,
        "quick": is_quick,
        "took_s": round(time.monotonic() - began_s, 1),
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "load": psutil.getloadavg()[0],
        "machine": machine(),
        "versions": versions(),
    }


def machine() -> str:
    """Describe this machine in a line."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    names = [
        line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line
    ]
    memory_gb = psutil.virtual_memory().total / 1e9
    name = names[0] if names else platform.machine()
    return f"{name}, {psutil.cpu_count()} CPUs, {memory_gb:.0f} GB"


def versions() -> dict[str, str]:
    """Give the versions of what was measured."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        found[name] = importlib.metadata.version(name)
    return found


def page(kept: dict[str, Any]) -> str:
    """Write the page from all that is kept."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`, from scripts in `benchmarks/` that print all they say.",
        "Raw numbers: [benchmarks.json](../docs/benchmarks.json). Ratios are of runs in turns,",
        "since machines are noisy; absolute figures are those of the machine below. Where its",
        "load is above the number of its CPUs, others used it too: such figures are too bad",
        "rather than too good.",
        "What pruning keeps of real networks is in [pruning.md](pruning.md).",
        "",
        "| what | measured | goal | by | when |",
        "|---|---|---|---|---|",
    ]
    for claim in CLAIMS:
        entry = kept.get(claim.script)
        value = entry["found"].get(claim.key) if entry else None
        if entry is None or value is None:
            lines.append(
                f"| {claim.means} | not measured | {claim.goal} | `{claim.script}.py` | |"
            )
            continue
        how = f"`{claim.script}.py{' --quick' if entry['quick'] else ''}`"
        row = (claim.means, _written(value), claim.goal, how, entry["at"][:10])
        lines.append(f"| {' | '.join(row)} |")
    lines += _peers(kept)
    lines += ["", "## On what", ""]
    for name in sorted(kept):
        entry = kept[name]
        told = ", ".join(f"{k} {v}" for k, v in entry["versions"].items())
        lines.append(
            f"- `{name}`: {entry['machine']}; load {entry['load']:.1f} at the end; "
            f"{entry['took_s']} s; {told}"
        )
    return "\n".join(lines) + "\n"


def _peers(kept: dict[str, Any]) -> list[str]:
    """Give the table of networks that several tools pruned."""
    entry = kept.get("peer_pruning")
    if entry is None:
        return []
    rows: dict[str, dict[str, Any]] = entry["found"]["rows"]
    keys = list(next(iter(rows.values())))
    quick = ": a quick run, which says nothing of quality" if entry["quick"] else ""
    return [
        "",
        "## Pruned by others",
        "",
        f"ResNet-8 by `peers/peer_pruning.py`{quick}.",
        "Trained: the same number of steps on the same images; Torch-Pruning and TF-MOT by",
        "labels, Secateur without. The best of a column wins, whoever it is. All begin with",
        "what the `.tflite` file holds; who has the network as it was trained, its",
        "normalisations not yet folded, can fine-tune it better than these could.",
        "",
        f"| | {' | '.join(key.replace('_', ' ') for key in keys)} |",
        "|---" * (len(keys) + 1) + "|",
        *(
            f"| {name} | {' | '.join(_written(row[key]) for key in keys)} |"
            for name, row in rows.items()
        ),
    ]


def _written(value: Any) -> str:  # noqa: ANN401 - what JSON holds
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> int:
    """Run what is asked for, and write page and raw numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="about a minute each")
    parser.add_argument("--full", action="store_true", help="also what takes long")
    parser.add_argument("--page", action="store_true", help="run nothing")
    parser.add_argument("--only", nargs="+", help="these scripts, without .py")
    options = parser.parse_args()
    every = list(scripts())
    if unknown := sorted(set(options.only or ()) - set(every)):
        sys.stderr.write(f"no benchmark {unknown[0]}: there are {', '.join(every)}\n")
        return 2
    kept: dict[str, Any] = json.loads(RAW.read_text()) if RAW.exists() else {}
    failed = False
    if options.page:
        PAGE.write_text(page(kept), encoding="utf-8")
        return 0
    for name in options.only or every:
        print(f"{name} ...", flush=True)
        is_quick = options.quick or (name in TOO_LONG and not options.full)
        try:
            found = run(name, is_quick=is_quick, limit_s=FULL_RUN_S if options.full else RUN_S)
        except NotHereError as error:
            print(f"{name}: left out: {error}", flush=True)
            continue
        except RuntimeError as error:
            failed = True
            sys.stderr.write(f"{name}: {error}\n")
            continue
        kept = json.loads(RAW.read_text()) if RAW.exists() else {}  # others may have written
        if not is_quick or name not in kept or kept[name]["quick"]:
            kept[name] = found
        # Scripts by name; what they found in their own order, as the page shows it.
        RAW.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
        PAGE.write_text(page(kept), encoding="utf-8")
        print(f"{name}: {found['took_s']} s", flush=True)
    print(json.dumps({name: entry["found"] for name, entry in kept.items()}))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
