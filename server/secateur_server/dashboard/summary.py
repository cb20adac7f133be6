"""The fleet in a few numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from secateur_protocols.manifest import Ladder
from secateur_protocols.presence import PresenceState
from secateur_server.dashboard.rows import Health, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What stands above the table.

    Attributes:
        devices: How many are known.
        online: How many of them are there.
        health: How many rows are in each.
        levels: By model, how many devices run each level.
        answered: Since each device's message before; likewise ``missed``, ``labelled``,
            ``correct``.
        promised: Mean accuracy that the ladders promise for the levels that run. ``None``:
            nothing runs whose ladder is known.
    """

    devices: int
    online: int
    health: Mapping[Health, int]
    levels: Mapping[str, Mapping[int, int]]
    answered: int
    missed: int
    labelled: int
    correct: int
    promised: float | None

    @property
    def miss_ratio(self) -> float | None:
        """Share of answers past their deadline."""
        return self.missed / self.answered if self.answered else None

    @property
    def measured(self) -> float | None:
        """Share of labelled frames that were answered right."""
        return self.correct / self.labelled if self.labelled else None


def summarize(rows: Iterable[Row], ladders: Mapping[str, Ladder], now_s: float) -> Summary:
    """Count."""
    devices, online = set[str](), set[str]()
    health, levels = Counter[Health](), dict[str, Counter[int]]()
    answered = missed = labelled = correct = 0
    for row in rows:
        devices.add(row.device)
        health[row.health(now_s)] += 1
        if row.state != PresenceState.ONLINE:
            continue
        online.add(row.device)
        if row.model is not None and row.level is not None:
            levels.setdefault(row.model, Counter())[row.level] += 1
        answered += row.answered
        missed += row.missed
        labelled += row.labelled
        correct += row.correct
    return Summary(
        devices=len(devices),
        online=len(online),
        health=health,
        levels=levels,
        answered=answered,
        missed=missed,
        labelled=labelled,
        correct=correct,
        promised=_promised(levels, ladders),
    )


def _promised(
    levels: Mapping[str, Mapping[int, int]], ladders: Mapping[str, Ladder]
) -> float | None:
    total, count = 0.0, 0
    for model, by_level in levels.items():
        rungs = ladders[model].levels if model in ladders else ()
        for level, devices in by_level.items():
            if level < len(rungs):
                total += devices * rungs[level].accuracy.value
                count += devices
    return total / count if count else None
