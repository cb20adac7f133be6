"""What a player achieved, in the figures that are compared."""

from dataclasses import dataclass, field

import numpy as np

from secateur_server.simulation.world import Floats, Integers, World


@dataclass(slots=True)
class Tally:
    """Sums over device-periods.

    Attributes:
        timely: Accuracy times the share of inferences in time: what a user gets who throws
            late answers away.
    """

    world: World
    periods: int = 0
    late: float = 0.0
    accuracy: float = 0.0
    timely: float = 0.0
    switches: int = 0
    by_class: dict[str, list[float]] = field(default_factory=dict)
    device_count: int = field(init=False)
    _levels: Integers | None = None

    def __post_init__(self) -> None:
        self.device_count = self.world.count

    def count(self, levels: Integers, p95_ms: Floats) -> None:
        """Add one period of every device."""
        late = self.world.late_share(p95_ms)
        accuracy = self.world.accuracy[levels]
        self.periods += 1
        self.late += float(late.sum())
        self.accuracy += float(accuracy.sum())
        self.timely += float((accuracy * (1 - late)).sum())
        if self._levels is not None:
            self.switches += int((levels != self._levels).sum())
        self._levels = levels.copy()
        for number, name in enumerate(self.world.class_names):
            mine = self.world.class_of == number
            sums = self.by_class.setdefault(name, [0.0, 0.0, 0.0])
            sums[0] += float(late[mine].sum())
            sums[1] += float(accuracy[mine].sum())
            sums[2] += float(mine.sum())

    def add(self, other: "Tally") -> None:
        """Add what the same player achieved with other devices, in as many periods."""
        self.device_count += other.device_count
        self.late += other.late
        self.accuracy += other.accuracy
        self.timely += other.timely
        self.switches += other.switches
        for name, sums in other.by_class.items():
            mine = self.by_class.setdefault(name, [0.0, 0.0, 0.0])
            self.by_class[name] = [a + b for a, b in zip(mine, sums, strict=True)]

    def describe(self) -> dict[str, float]:
        """Give rates and means."""
        total = max(1, self.periods * self.device_count)
        hours = total * self.world.scenario.period_s / 3600
        return {
            "miss_rate": self.late / total,
            "mean_accuracy": self.accuracy / total,
            "timely_accuracy": self.timely / total,
            "switches_per_device_hour": self.switches / hours,
        }

    def describe_classes(self) -> dict[str, dict[str, float]]:
        """Give them by hardware class."""
        return {
            name: {
                "miss_rate": late / max(count, 1.0),
                "mean_accuracy": accuracy / max(count, 1.0),
            }
            for name, (late, accuracy, count) in self.by_class.items()
        }


def regret_points(oracle: Tally, player: Tally) -> float:
    """Give the accuracy lost against the oracle, in points of 100."""
    lost = oracle.describe()["mean_accuracy"] - player.describe()["mean_accuracy"]
    return float(np.round(100 * lost, 6))
