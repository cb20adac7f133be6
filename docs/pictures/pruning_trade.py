"""Measure what each way to prune keeps and costs, and draw it beside this file.

    .venv/bin/python docs/pictures/pruning_trade.py [--draw]

Prunes MLPerf Tiny's ResNet-8 by every method at several strengths, each by ``secateur prune``
in a process of its own; calibrates with 256 images and evaluates with 846 others. Writes
``pruning_trade.json`` with what was measured, then ``pruning_trade.svg`` from it: accuracy
against the compressed file, and against latency. ``--draw`` only draws.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[2] / "shared" / "data" / "cifar10"
MEASURED, PICTURE = HERE / "pruning_trade.json", HERE / "pruning_trade.svg"

CALIBRATION = 256
PRUNE_S = 900.0

STRENGTHS: dict[str, tuple[tuple[str, ...], ...]] = {
    "network": tuple(("--budget", f"macs={share}") for share in (0.8, 0.6, 0.4, 0.25)),
    "channel": tuple(("--ratio", str(share)) for share in (0.125, 0.25, 0.375, 0.5)),
    "layer": tuple(("--count", str(count)) for count in (1, 2, 3)),
    "magnitude": tuple(("--sparsity", str(share)) for share in (0.5, 0.7, 0.8, 0.9)),
    "relative": tuple(("--threshold", str(share)) for share in (0.05, 0.1, 0.2, 0.3)),
    "absolute": tuple(("--threshold", str(size)) for size in (0.02, 0.05, 0.1, 0.15)),
}

COLOURS = {
    "network": "#2f855a",
    "channel": "#68b984",
    "layer": "#1f4e79",
    "magnitude": "#c05621",
    "relative": "#dd9b4a",
    "absolute": "#97266d",
}
INK, QUIET, PAPER, RULE = "#1f2933", "#52606d", "#ffffff", "#d9dee4"
FONT = "font-family='system-ui, sans-serif'"
PANEL, HEIGHT, MARGIN, TOP = 430, 330, 56, 44

Row = dict[str, Any]


def measure() -> list[Row]:
    """Prune by every method at every strength."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with np.load(DATA / "cifar10_subset.npz") as arrays:
            np.savez(
                folder / "calibration.npz", x=arrays["x_train"][:CALIBRATION].astype(np.float32)
            )
            np.savez(
                folder / "evaluation.npz",
                x=arrays["x_test"].astype(np.float32),
                y=arrays["y_test"],
            )
        for method, strengths in STRENGTHS.items():
            for strength in strengths:
                found = prune(folder, method, strength)
                if found is not None:
                    rows.append(found)
                    print(json.dumps(found), flush=True)
    return rows


def prune(folder: Path, method: str, strength: tuple[str, ...]) -> Row | None:
    """Prune once. ``None``: the method found nothing to take, or no level worth keeping."""
    out = folder / "-".join((method, *strength)).replace("=", "-")
    search = ("--search", "2") if method in {"network", "channel"} else ()
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "secateur_server", "prune", DATA / "resnet8_float32.tflite",
         "--calibration", folder / "calibration.npz", "--evaluation", folder / "evaluation.npz",
         "--method", method, *strength, "--levels", "2", *search, "--out", out],
        capture_output=True,
        text=True,
        check=False,
        timeout=PRUNE_S,
    )  # fmt: skip
    if done.returncode != 0:
        print(f"{out.name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    dense, *narrower = json.loads((out / "ladder.json").read_text())["levels"]
    if not narrower:
        return None
    level = narrower[-1]
    return {
        "method": method,
        "strength": " ".join(strength).removeprefix("--"),
        "accuracy": level["accuracy"]["value"],
        "low": level["accuracy"]["low"],
        "high": level["accuracy"]["high"],
        "dense_accuracy": dense["accuracy"]["value"],
        "compressed_ratio": round(level["compressed_bytes"] / dense["compressed_bytes"], 4),
        "latency_ratio": round(level["latency"]["p50_ms"] / dense["latency"]["p50_ms"], 4),
        "macs_ratio": round(level["macs"] / dense["macs"], 4),
    }


def draw(rows: list[Row]) -> str:
    """Draw two panels side by side, and which colour is which."""
    dense = rows[0]["dense_accuracy"]
    width = 2 * PANEL
    parts = [
        (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {HEIGHT + 40}' "
            "role='img' aria-label='Accuracy against compressed size and latency, by method'>"
        ),
        f"<rect width='{width}' height='{HEIGHT + 40}' fill='{PAPER}'/>",
        *panel(rows, dense, 0, "compressed_ratio", "compressed file, dense = 1"),
        *panel(rows, dense, PANEL, "latency_ratio", "latency, dense = 1"),
    ]
    for place, (method, colour) in enumerate(COLOURS.items()):
        x = MARGIN + place * 130
        parts += [
            f"<circle cx='{x}' cy='{HEIGHT + 20}' r='5' fill='{colour}'/>",
            text(x + 10, HEIGHT + 25, method),
        ]
    return "\n".join([*parts, "</svg>\n"])


def panel(rows: list[Row], dense: float, left: int, key: str, title: str) -> list[str]:
    """Draw one panel: the method's points in order of strength, joined."""
    low_x, high_x = 0.0, 1.2

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + MARGIN + (PANEL - MARGIN - 20) * (x - low_x) / (high_x - low_x)
        return across, TOP + (HEIGHT - TOP - 50) * (1 - y)

    parts = [text(left + MARGIN, 24, f"top-1 against {title}", weight="bold")]
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        (x0, y), (x1, _) = place(low_x, share), place(high_x, share)
        parts += [line(x0, y, x1, y), text(x0 - 30, y + 4, f"{share:.1f}")]
        x, bottom = place(share, 0.0)
        parts.append(text(x - 9, bottom + 18, f"{share:.1f}"))
    for method, colour in COLOURS.items():
        of_it = [row for row in rows if row["method"] == method]
        points = [place(1.0, dense), *(place(row[key], row["accuracy"]) for row in of_it)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='1.5'/>"
        )
        parts += [
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='{colour}'/>" for x, y in points[1:]
        ]
    x, y = place(1.0, dense)
    parts += [
        f"<circle cx='{x:.1f}' cy='{y:.1f}' r='5' fill='{INK}'/>",
        text(x + 8, y + 4, "dense"),
    ]
    return parts


def line(x0: float, y0: float, x1: float, y1: float) -> str:
    """Give a thin rule."""
    return f"<line x1='{x0:.1f}' y1='{y0:.1f}' x2='{x1:.1f}' y2='{y1:.1f}' stroke='{RULE}'/>"


def text(x: float, y: float, words: str, *, weight: str = "normal") -> str:
    """Give a line of text."""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='12' font-weight='{weight}' "
        f"fill='{INK if weight == 'bold' else QUIET}'>{words}</text>"
    )


def main() -> None:
    """Measure unless told not to, then draw."""
    if "--draw" not in sys.argv[1:]:
        MEASURED.write_text(json.dumps(measure(), indent=1) + "\n")
    PICTURE.write_text(draw(json.loads(MEASURED.read_text())), encoding="utf-8")


if __name__ == "__main__":
    main()
