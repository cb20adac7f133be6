"""How well the planner fits a fleet: a day of 500 devices with heat, load and faulty links.

    python benchmarks/planner_quality.py [--quick]

On a virtual clock, with the scenario in examples/simulation/heat-wave-day.toml. All players
meet the same weather. The planner runs as it does in a coordinator and sees only telemetry, of
which agents leave unsaid what changes little; a second planner hears each period, to show what
that costs. The others see each period, too. The planner is compared with

    (a) always dense
    (b) always the narrowest level
    (c) the best fixed level of each hardware class, chosen with hindsight
    (d) a greedy threshold rule without beliefs, at several thresholds
    (e) an oracle that knows each period's true latencies and switches at no cost

Fewer misses and more accuracy pull against each other, so "better on both axes together" is
judged by timely accuracy: accuracy times the share of inferences in time. (c) is the best by
that measure. Of (d) the threshold that is best by it is taken, with hindsight too, among those
that switch no more often than the goal allows; the frontier shows them all.

Writes benchmarks/results/planner_quality.svg. Last line: miss_rate, regret_points,
switches_per_device_hour, beats_all_baselines; said_share, of periods, and
regret_points_all_said, of the planner that hears each.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from secateur_server.simulation.players import Fixed, Greedy, Oracle
from secateur_server.simulation.report import Tally, regret_points
from secateur_server.simulation.scenario import Scenario, read_scenario
from secateur_server.simulation.virtual import Planner, play
from secateur_server.simulation.world import World

ROOT = Path(__file__).resolve().parents[1]
SCENARIO = ROOT / "examples" / "simulation" / "heat-wave-day.toml"
PLOT = ROOT / "benchmarks" / "results" / "planner_quality.svg"
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)
MOST_SWITCHES_PER_HOUR = 2.0
"""The goal; a rule that switches more often is no alternative."""

LABELS = {"planner": (0, 20, "middle"), "(d)": (-8, -6, "end")}
"""Where labels stand that would lie on each other: planner, oracle and rule come close."""


def main() -> None:
    """Play everything and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="less than a minute")
    quick = parser.parse_args().quick
    scenario = read_scenario(SCENARIO)
    count = 500
    if quick:
        scenario, count = scenario.model_copy(update={"hours": 6.0}), 60
    oracle = play(scenario, count, Oracle)
    fixed = [play(scenario, count, level_for_all(level)) for level in levels_of(scenario)]
    greedy = {share: play(scenario, count, greedy_at(share)) for share in THRESHOLDS}
    calm = {
        share: tally
        for share, tally in greedy.items()
        if tally.describe()["switches_per_device_hour"] <= MOST_SWITCHES_PER_HOUR
    }
    rule = max(calm, key=lambda share: calm[share].describe()["timely_accuracy"])
    by_class = best_by_class(scenario, count, fixed)
    baselines = {
        "(a) always dense": fixed[0],
        "(b) always narrowest": fixed[-1],
        "(c) best fixed per class": by_class,
        f"(d) greedy below {rule:.0%}": calm[rule],
    }
    planner, said_share = play_planner(scenario, count)
    told_all, _ = play_planner(scenario.with_every_period_said(), count)
    rows = {**baselines, "(e) oracle": oracle, "planner": planner}
    for name, tally in rows.items():
        print(line(name, tally, oracle))
    print(line("planner told each period", told_all, oracle))
    for share, tally in greedy.items():
        print(line(f"    greedy below {share:.0%}", tally, oracle))
    if not quick:
        plot(rows, greedy, PLOT)
    achieved = planner.describe()
    timely = achieved["timely_accuracy"]
    figures = {
        "miss_rate": round(achieved["miss_rate"], 5),
        "regret_points": round(regret_points(oracle, planner), 3),
        "switches_per_device_hour": round(achieved["switches_per_device_hour"], 3),
        "beats_all_baselines": all(
            timely > tally.describe()["timely_accuracy"] for tally in baselines.values()
        ),
        "said_share": round(said_share, 3),
        "regret_points_all_said": round(regret_points(oracle, told_all), 3),
    }
    print(json.dumps(figures))


def play_planner(scenario: Scenario, count: int) -> tuple[Tally, float]:
    """Play the planner; give also the share of periods of which it was told."""
    played: list[Planner] = []

    def make(world: World) -> Planner:
        played.append(Planner(world))
        return played[-1]

    tally = play(scenario, count, make)
    return tally, played[0].said / (tally.periods * count)


def levels_of(scenario: Scenario) -> range:
    """Give the ladder's levels."""
    return range(len(scenario.ladder.accuracies))


def level_for_all(level: int) -> Callable[[World], Fixed]:
    """Give a player that runs one level everywhere."""
    return lambda world: Fixed(np.full(world.count, level))


def greedy_at(share: float) -> Callable[[World], Greedy]:
    """Give a player with the threshold rule."""
    return lambda world: Greedy(world, wider_share=share)


def best_by_class(scenario: Scenario, count: int, fixed: Sequence[Tally]) -> Tally:
    """Play the fixed level per hardware class whose timely accuracy was the greatest."""
    tables = [tally.describe_classes() for tally in fixed]

    def timely(level: int, name: str) -> float:
        figures = tables[level][name]
        return figures["mean_accuracy"] * (1 - figures["miss_rate"])

    def choose(world: World) -> Fixed:
        best = [
            int(np.argmax([timely(level, name) for level in range(len(fixed))]))
            for name in world.class_names
        ]
        return Fixed(np.array(best)[world.class_of])

    return play(scenario, count, choose)


def line(name: str, tally: Tally, oracle: Tally) -> str:
    """Describe one player."""
    figures = tally.describe()
    return (
        f"{name:28s} misses {figures['miss_rate']:7.3%}  accuracy "
        f"{figures['mean_accuracy']:.4f}  timely {figures['timely_accuracy']:.4f}  "
        f"regret {regret_points(oracle, tally):6.2f}  "
        f"switches/h {figures['switches_per_device_hour']:5.2f}"
    )


def plot(rows: dict[str, Tally], greedy: dict[float, Tally], path: Path) -> None:
    """Draw misses against accuracy, misses on a logarithmic axis."""
    width, height, edge = 720, 420, 60
    lowest, highest = -3.6, 0.0  # decades of the miss rate

    def place(tally: Tally) -> tuple[float, float]:
        figures = tally.describe()
        decade = max(lowest, np.log10(max(figures["miss_rate"], 1e-9)))
        x = edge + (decade - lowest) / (highest - lowest) * (width - 2 * edge)
        y = height - edge - (figures["mean_accuracy"] - 0.5) / 0.4 * (height - 2 * edge)
        return round(x, 1), round(y, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        '<g font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for decade in (-3, -2, -1, 0):
        x = edge + (decade - lowest) / (highest - lowest) * (width - 2 * edge)
        parts.append(
            f'<path d="M{x:.1f} {edge}V{height - edge}" stroke="#ddd"/>'
            f'<text x="{x:.1f}" y="{height - edge + 18}" text-anchor="middle">'
            f"{100 * 10.0**decade:g} %</text>"
        )
    for accuracy in (0.5, 0.6, 0.7, 0.8, 0.9):
        y = height - edge - (accuracy - 0.5) / 0.4 * (height - 2 * edge)
        parts.append(
            f'<path d="M{edge} {y:.1f}H{width - edge}" stroke="#ddd"/>'
            f'<text x="{edge - 8}" y="{y + 4:.1f}" text-anchor="end">{accuracy:.1f}</text>'
        )
    frontier = " ".join(f"{x},{y}" for x, y in map(place, greedy.values()))
    parts.append(f'<polyline points="{frontier}" fill="none" stroke="#999"/>')
    for name, tally in rows.items():
        x, y = place(tally)
        dx, dy, anchor = LABELS.get(name.split()[0], (8, -6, "start"))
        colour = {"planner": "#c22", "(e) oracle": "#2a2"}.get(name, "#36c")
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}"/>'
            f'<text x="{x + dx}" y="{y + dy}" text-anchor="{anchor}">{name}</text>'
        )
    parts += [
        f'<text x="{width / 2}" y="{height - 14}" text-anchor="middle">late inferences</text>',
        f'<text x="{edge}" y="{edge - 20}">mean accuracy; grey: greedy, 50 to 90 %</text>',
        "</g></svg>",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    print(f"drew {path}")


if __name__ == "__main__":
    main()
