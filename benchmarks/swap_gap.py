"""What swaps do to a stream: frames lost or doubled, gaps between answers, memory that stays.

A stream of 200 frames a second goes through a real lane while the real loader swaps between
two levels: the digit model and a ladder's narrower one. Quiet spans and swaps take turns, so
that what the machine does to one it does to the other. The last line is one JSON object:

    swaps            in the stream
    lost, duplicated frames without an answer, and with more than one
    gap_ratio        largest gap between two answers while swapping / the p99.9 gap while not;
                     the first frames on the other level and the tidying after it are swapping
    rss_drift_ratio  resident memory after 1,000 swaps / after the first 100
"""

import argparse
import hashlib
import itertools
import json
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from secateur_agent.core.window import nearest_rank
from secateur_agent.engine import find_engine
from secateur_agent.inference.commands import LaneSpec, Load, Reply, Serving
from secateur_agent.inference.frame import Answered, Frame, Outcome
from secateur_agent.inference.intake import Intake
from secateur_agent.inference.lane import Lane
from secateur_agent.inference.loader import Loader
from secateur_agent.inference.realtime import Realtime, keep_collections_out
from secateur_server.pruning.pruner import PruneRequest, prune
from secateur_server.pruning.task import Options

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"

RATE_HZ = 200.0
QUIET_S = 0.15
"""Between two swaps."""

HURRY_S = 0.001
"""A gap belongs to a swap if its frame was due in it, or so little before that the swap may
have met its inference. A stall of the machine that a swap begins in is not the swap's."""

AFTER_S = 0.01
"""After a swap, what is due to it may still come: two frames, and the tidying."""


@dataclass
class Stream:
    """Frames at a fixed rate, and when each was answered."""

    lane: Lane
    sample: np.ndarray
    answers: Counter[int] = field(default_factory=Counter)
    answered_s: list[float] = field(default_factory=list)
    offered: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Offer frames until stopped."""
        due_s = time.monotonic()
        while not self.stopping.wait(max(0.0, due_s - time.monotonic())):
            number = self.offered
            self.offered += 1

            def settle(outcome: Outcome, number: int = number) -> None:
                if isinstance(outcome, Answered):
                    self.answers[number] += 1
                    self.answered_s.append(time.monotonic())

            self.lane.intake.offer(Frame(time.monotonic(), self.sample, settle=settle))
            due_s += 1 / RATE_HZ


class Swapper:
    """Loads one level after another, and waits until it serves."""

    def __init__(self, paths: list[Path], lanes: dict[str, Lane]) -> None:
        self._loads = [self._load(level, path) for level, path in enumerate(paths)]
        self._served = threading.Event()
        self._lane = lanes["digits"]
        self._loader = Loader(find_engine(), 1, lanes, self._hear)
        self._loader.start()

    def swap(self, number: int) -> None:
        """Let the other level answer, as a commit does."""
        self._served.clear()
        self._loader.load(self._loads[number % len(self._loads)])
        if not self._served.wait(60.0):
            msg = "a level did not come to serve"
            raise RuntimeError(msg)
        self._lane.settle()

    def _hear(self, reply: Reply) -> None:
        if isinstance(reply, Serving):
            self._served.set()

    @staticmethod
    def _load(level: int, path: Path) -> Load:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Load(
            ticket=1,
            model="digits",
            version="1",
            level=level,
            precision="float32",
            digest=digest,
            path=str(path),
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    swaps, drift_swaps = (40, 150) if parser.parse_args().quick else (200, 1000)
    with tempfile.TemporaryDirectory() as folder:
        measure(make_levels(Path(folder) / "ladder"), swaps, drift_swaps)


def measure(paths: list[Path], swaps: int, drift_swaps: int) -> None:
    """Stream through the swaps, then only swap."""
    with np.load(DIGITS / "evaluation.npz") as arrays:
        sample = arrays["x"][0]
    spec = LaneSpec(model="digits", deadline_ms=1000.0, source=None, queue=64)
    lane = Lane(spec, Intake(64, None, print), 1.0, print, realtime=Realtime())
    lane.start()
    swapper = Swapper(paths, {"digits": lane})
    swapper.swap(0)
    keep_collections_out()
    stream = Stream(lane, sample)
    thread = threading.Thread(target=stream.run, name="stream")
    thread.start()
    spans = [stream_swap(swapper, number) for number in range(1, swaps + 1)]
    stream.stopping.set()
    thread.join()
    time.sleep(0.5)
    report(stream, spans, drift(swapper, drift_swaps))


def make_levels(out_dir: Path) -> list[Path]:
    """Write the digit model and one that is pruned from it."""
    prune(
        PruneRequest(
            model_path=DIGITS / "digits.tflite",
            calibration_path=DIGITS / "calibration.npz",
            evaluation_path=DIGITS / "evaluation.npz",
            out_dir=out_dir,
            method="channel",
            options=Options(levels=2),
        )
    )
    return [out_dir / "level-0.tflite", out_dir / "level-1.tflite"]


def stream_swap(swapper: Swapper, number: int) -> tuple[float, float]:
    """Wait, swap, and give when the swap began and ended."""
    time.sleep(QUIET_S)
    began_s = time.monotonic()
    swapper.swap(number)
    time.sleep(AFTER_S)
    return began_s, time.monotonic()


def drift(swapper: Swapper, swaps: int) -> float:
    """Swap many times and compare resident memory at the end with that near the start."""
    settled = swaps // 10
    early = 1
    for number in range(swaps):
        swapper.swap(number)
        if number == settled:
            early = resident_bytes()
    return resident_bytes() / early


def resident_bytes() -> int:
    """Read this process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def report(stream: Stream, spans: list[tuple[float, float]], drift_ratio: float) -> None:
    """Sort the gaps into quiet and swapping ones, and print."""
    quiet_ms: list[float] = []
    swapping_ms: list[float] = []
    ordered = sorted(stream.answered_s)
    for before_s, after_s in itertools.pairwise(ordered):
        due_s = before_s + 1 / RATE_HZ
        is_swapping = any(began - HURRY_S <= due_s <= ended for began, ended in spans)
        (swapping_ms if is_swapping else quiet_ms).append((after_s - before_s) * 1e3)
    quiet_ms.sort()
    swapping_ms.sort()
    p999_ms = nearest_rank(quiet_ms, 0.999)
    print(
        f"quiet: {len(quiet_ms)} gaps, p50 {nearest_rank(quiet_ms, 0.5):.2f} ms, "
        f"p99.9 {p999_ms:.2f} ms, largest {quiet_ms[-1]:.2f} ms"
    )
    print(
        f"swapping: {len(swapping_ms)} gaps, p50 {nearest_rank(swapping_ms, 0.5):.2f} ms, "
        f"p99.9 {nearest_rank(swapping_ms, 0.999):.2f} ms, largest {swapping_ms[-1]:.2f} ms"
    )
    last = {
        "swaps": len(spans),
        "lost": stream.offered - len(stream.answers),
        "duplicated": sum(count - 1 for count in stream.answers.values()),
        "gap_ratio": round(swapping_ms[-1] / p999_ms, 3),
        "rss_drift_ratio": round(drift_ratio, 4),
    }
    print(json.dumps(last))


if __name__ == "__main__":
    main()
