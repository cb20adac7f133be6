"""Counts and times what a lane answers; memory does not grow with time."""

import threading
import time
from dataclasses import dataclass

from secateur_agent.core.report import LevelServed
from secateur_agent.inference.histogram import Histogram
from secateur_protocols.plain import MAX_HISTORY

BATCH = 1024
"""Latencies that are counted at a time: for each by itself, the hot loop would pay more than
for all the rest that is measured."""


@dataclass(slots=True)
class _LevelCount:
    answered: int = 0
    labelled: int = 0
    correct: int = 0


@dataclass(frozen=True, slots=True)
class Period:
    """What was measured since the last collection; see `LaneReport` for the units."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    since_switch_s: float
    answered: int
    dropped: int
    lost: int
    deadline_misses: int
    switches: int
    served: tuple[LevelServed, ...]


class Meter:
    """What one lane did. The lane's thread writes, the command thread collects.

    There is no lock per answer, which would cost the hot loop as much as all the counting: each
    counter has one writer, and a collection takes what it takes away as a whole. The counters
    that only grow miss nothing; an answer that is counted at the very moment of a collection
    may be missing from the ranks and levels of its period.
    """

    def __init__(self, deadline_ms: float) -> None:
        self.deadline_ms = deadline_ms
        self._latencies = Histogram()
        self._recent_us: list[float] = []
        self._counting = threading.Lock()
        self._levels: dict[int, _LevelCount] = {}
        self._switched_at_s = time.monotonic()
        self._answered = 0
        self._dropped = 0
        self._lost = 0
        self._misses = 0
        self._switches = -1  # the first artifact is no switch

    def switched(self) -> None:
        """Another artifact answers from now on: its latencies start afresh."""
        self._take_latencies()
        self._switched_at_s = time.monotonic()
        self._switches += 1

    def answered(self, level: int, latency_ms: float, *, is_correct: bool | None) -> None:
        """Count one answer; ``is_correct`` is ``None`` without a label."""
        self._answered += 1
        self._misses += latency_ms > self.deadline_ms
        self._recent_us.append(latency_ms * 1e3)
        if len(self._recent_us) >= BATCH:
            self._count_recent()
        count = self._levels.get(level)
        if count is None:
            count = self._levels[level] = _LevelCount()
        count.answered += 1
        if is_correct is not None:
            count.labelled += 1
            count.correct += is_correct

    def dropped_late(self) -> None:
        """Count a frame that was let go because its deadline had passed."""
        self._dropped += 1
        self._misses += 1

    def lost(self) -> None:
        """Count a frame that nothing could answer."""
        self._lost += 1

    def since_switch_s(self) -> float:
        """Say for how long the artifact has served, seconds."""
        return time.monotonic() - self._switched_at_s

    def collect(self) -> Period:
        """Give what was measured and begin a new period."""
        levels, self._levels = self._levels, {}
        latencies = self._take_latencies()
        answered, dropped, lost = self._answered, self._dropped, self._lost
        misses, switches = self._misses, max(0, self._switches)
        return Period(
            p50_ms=_rank_ms(latencies, 0.5),
            p95_ms=_rank_ms(latencies, 0.95),
            p99_ms=_rank_ms(latencies, 0.99),
            p999_ms=_rank_ms(latencies, 0.999),
            since_switch_s=self.since_switch_s(),
            answered=answered,
            dropped=dropped,
            lost=lost,
            deadline_misses=misses,
            switches=switches,
            served=_served(levels),
        )

    def _count_recent(self) -> None:
        with self._counting:
            recent_us, self._recent_us = self._recent_us, []
            self._latencies.add(recent_us)

    def _take_latencies(self) -> Histogram:
        """Give what was counted, and begin afresh."""
        with self._counting:
            recent_us, self._recent_us = self._recent_us, []
            latencies, self._latencies = self._latencies, Histogram()
        latencies.add(recent_us)
        return latencies


def _rank_ms(latencies: Histogram, ratio: float) -> float | None:
    return latencies.rank_us(ratio) / 1e3 if latencies.total else None


def _served(levels: dict[int, _LevelCount]) -> tuple[LevelServed, ...]:
    return tuple(
        LevelServed(level, count.answered, count.labelled, count.correct)
        for level, count in list(levels.items())[-MAX_HISTORY:]
    )
