"""One artifact under watch: what its first answers were, and how long they took."""

import time

from secateur_agent.core.window import nearest_rank
from secateur_agent.inference.commands import Watch, Watched


class Trial:
    """Gathers the evidence of one `Watch`. The lane's thread writes."""

    def __init__(self, watch: Watch, *, incumbent_ms: list[float]) -> None:
        """Begin.

        Args:
            watch: What was asked.
            incumbent_ms: The last inferences of the artifact before it, milliseconds.
        """
        self._watch = watch
        self._incumbent_ms = incumbent_ms
        self._ends_s = time.monotonic() + watch.limit_s
        self._inferences_ms: list[float] = []
        self._faults = 0
        self._detail = ""

    def answered(self, inference_ms: float) -> bool:
        """Count an answer; say whether it was the last that was asked for."""
        self._inferences_ms.append(inference_ms)
        return len(self._inferences_ms) >= self._watch.count

    def failed(self, problem: str) -> None:
        """Count a frame that it could not answer."""
        self._faults += 1
        self._detail = problem

    def is_over(self) -> bool:
        """Say whether its time has run out."""
        return time.monotonic() >= self._ends_s

    def report(self, deadline_ms: float) -> Watched:
        """Sum up."""
        return Watched(
            ticket=self._watch.ticket,
            model=self._watch.model,
            answered=len(self._inferences_ms),
            faults=self._faults,
            detail=self._detail,
            p95_ms=_p95(self._inferences_ms),
            incumbent_p95_ms=_p95(self._incumbent_ms),
            deadline_ms=deadline_ms,
        )


def _p95(values_ms: list[float]) -> float | None:
    return nearest_rank(sorted(values_ms), 0.95) if values_ms else None
