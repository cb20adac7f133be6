"""Measure what distillation brings back, and what it takes.

    python benchmarks/distillation.py [--quick] [--steps 2000] [--data ../shared/data]
                                      [--resume FOLDER]

Prunes each model to 0.6 of its multiply-accumulates, once as it is and once with distillation
after it, and compares both ladders: top-1 on samples that neither calibrated nor were learned
from. ``--quick`` does it with the digits of `examples/` and a few steps. With ``--resume`` a
run that was interrupted goes on. The last line is one JSON object.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur_server.pruning.budget import Budget
from secateur_server.pruning.distillation.options import DistillOptions, DistillRequest
from secateur_server.pruning.pruner import PruneRequest, prune
from secateur_server.pruning.task import Options

REPOSITORY = Path(__file__).parents[1]
BUDGET = "macs=0.6"
QUICK_STEPS = 40
CALIBRATING = 512


@dataclass(frozen=True, slots=True)
class Case:
    """One model with its samples: the first part learns, the other evaluates."""

    name: str
    model_path: Path
    learning: npt.NDArray[Any]
    evaluation: npt.NDArray[Any]
    labels: npt.NDArray[Any]


def cases(data: Path, *, quick: bool) -> list[Case]:
    """Read the models and their samples."""
    if quick:
        folder = REPOSITORY / "examples" / "digits"
        learning, others = (np.load(folder / f"{k}.npz") for k in ("calibration", "evaluation"))
        return [
            Case("digits", folder / "digits.tflite", learning["x"], others["x"], others["y"])
        ]
    images = np.load(data / "cifar10" / "cifar10_subset.npz")
    words = np.load(data / "kws" / "kws01.npz")
    spectrograms = (words["x"].astype(np.float32) - 83) * np.float32(0.5847029)
    return [
        Case(
            "resnet8_float32",
            data / "cifar10" / "resnet8_float32.tflite",
            images["x_train"],
            images["x_test"],
            images["y_test"],
        ),
        Case(
            "kws_hybrid",
            data / "kws" / "kws_hybrid.tflite",
            spectrograms[:500],
            spectrograms[500:],
            words["y"][500:],
        ),
    ]


def measure(case: Case, steps: int, state_dir: Path | None) -> dict[str, float]:
    """Prune without and with distillation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "calibration.npz", x=case.learning[:CALIBRATING])
        np.savez(folder / "learning.npz", x=case.learning)
        np.savez(folder / "evaluation.npz", x=case.evaluation, y=case.labels)
        request = PruneRequest(
            model_path=case.model_path,
            calibration_path=folder / "calibration.npz",
            evaluation_path=folder / "evaluation.npz",
            out_dir=folder / "before",
            options=Options(budget=Budget.parse(BUDGET), levels=2),
        )
        started_s = time.monotonic()
        dense, before = prune(request).levels
        pruned_s = time.monotonic()
        distill = DistillRequest(
            samples_path=folder / "learning.npz",
            options=DistillOptions(steps=steps),
            state_dir=None if state_dir is None else state_dir / case.name,
        )
        after = prune(replace(request, out_dir=folder / "after", distill=distill)).levels[1]
        ended_s = time.monotonic()
        plan = json.loads((folder / "after" / "plan-1.json").read_text())
    record = plan["distilled"]
    return {
        "accuracy_dense": dense.accuracy.value,
        "accuracy_before": before.accuracy.value,
        "accuracy": after.accuracy.value,
        "held_back_agreement_before": record["agreement"][0],
        "held_back_agreement": record["agreement"][1],
        "macs_ratio": after.macs / dense.macs,
        "latency_ratio": after.latency.p50_ms / dense.latency.p50_ms,
        "steps": record["steps"],
        # The second run prunes as long as the first; what is left is distillation.
        "distill_s": max(0.0, (ended_s - pruned_s) - (pruned_s - started_s)),
    }


def main() -> None:
    """Run all cases and print a table and the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--resume", type=Path, help="folder of states")
    given = parser.parse_args()
    steps = QUICK_STEPS if given.quick else given.steps
    found = {}
    for case in cases(given.data, quick=given.quick):
        found[case.name] = measure(case, steps, given.resume)
        for key, value in found[case.name].items():
            print(f"{case.name:16} {key:28} {value:.4g}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
