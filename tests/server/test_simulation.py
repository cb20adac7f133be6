"""Simulated fleets: fair to all players, and like a real one to a real coordinator."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from secateur_server.errors import InputError
from secateur_server.registry.registry import Registry
from secateur_server.simulation.devices import Devices
from secateur_server.simulation.players import Fixed, Greedy, Oracle
from secateur_server.simulation.report import regret_points
from secateur_server.simulation.scenario import (
    Scenario,
    make_ladder,
    read_scenario,
    write_ladder,
)
from secateur_server.simulation.shards import PART_DEVICES, play_in_parts
from secateur_server.simulation.virtual import Planner, play
from secateur_server.simulation.world import Body, World
from support.coordinators import Served

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = ROOT / "examples" / "simulation" / "heat-wave-day.toml"


VALID = """
[ladder]
accuracies = [0.9]
latencies_ms = [1.0]
memory_mb = [1.0]
[hardware.pi]
share = 1
slowness = 1.0
deadline_ms = 1.0
"""


@pytest.fixture
def scenario() -> Scenario:
    return read_scenario(SCENARIO).model_copy(update={"hours": 3.0, "period_s": 60.0})


def test_the_same_seed_plays_the_same_day(scenario: Scenario) -> None:
    first, second = (play(scenario, 20, Planner).describe() for _ in range(2))
    assert first == second


def test_all_players_meet_the_same_weather(scenario: Scenario) -> None:
    worlds = World(scenario, 20), World(scenario, 20)
    assert (worlds[0].base_ms == worlds[1].base_ms).all()
    for _ in range(5):
        one, other = worlds[0].step(), worlds[1].step()
        assert (one.load == other.load).all()
        assert (one.scatter == other.scatter).all()


def test_the_planner_comes_close_to_the_oracle_and_is_far_better_than_fixed_levels(
    scenario: Scenario,
) -> None:
    oracle, planner = play(scenario, 40, Oracle), play(scenario, 40, Planner)
    figures = planner.describe()
    assert figures["miss_rate"] < 0.02
    assert regret_points(oracle, planner) < 4.0  # most of it while the fleet starts narrow
    for level in range(len(scenario.ladder.accuracies)):
        fixed = play(scenario, 40, lambda world, k=level: Fixed(np.full(world.count, k)))  # type: ignore[misc]
        assert figures["timely_accuracy"] > fixed.describe()["timely_accuracy"]
    assert oracle.describe()["timely_accuracy"] > figures["timely_accuracy"]


def test_a_greedy_rule_that_leaves_little_room_flaps(scenario: Scenario) -> None:
    restless = play(scenario, 40, lambda world: Greedy(world, wider_share=0.9)).describe()
    planner = play(scenario, 40, Planner).describe()
    per_hour = "switches_per_device_hour"
    assert restless[per_hour] > 3 * planner[per_hour]


def test_a_heat_wave_makes_outdoor_devices_warmer_and_narrower(scenario: Scenario) -> None:
    day = scenario.model_copy(update={"hours": 16.0})
    world = World(day, 30)
    ambient_c = [world.step().ambient_c.max() for _ in range(16 * 60)]
    assert max(ambient_c) > max(ambient_c[: 6 * 60]) + 15


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("hours = [", "TOML"),
        (VALID + "[heat]\nlimit_f = 185.0", "limit_f"),
        (VALID + "[noise]\nwithin = -1.0", "within"),
        (
            "[ladder]\naccuracies = [0.9]\nlatencies_ms = [1.0, 2.0]\nmemory_mb = [1.0]",
            "ladder",
        ),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused(
    tmp_path: Path, text: str, word: str
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=word):
        read_scenario(path)


def simulate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "secateur_server", "simulate", "--scenario", str(SCENARIO)]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=200, check=False
    )


def test_the_command_reports_all_figures() -> None:
    done = simulate("--devices", "10", "--hours", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    wanted = {"miss_rate", "mean_accuracy", "switches_per_device_hour", "regret_points"}
    assert wanted <= set(report)


def test_a_missing_scenario_is_named() -> None:
    done = simulate("--scenario", "nowhere.toml")
    assert done.returncode == 2
    assert "nowhere.toml" in done.stderr


@pytest.mark.broker
@pytest.mark.slow
def test_a_played_fleet_is_fitted_by_a_real_coordinator(served: Served, tmp_path: Path) -> None:
    scenario = read_scenario(SCENARIO)
    write_ladder(make_ladder(scenario.ladder), tmp_path / "played")
    Registry(served.data / "registry").publish(tmp_path / "played")
    done = simulate(
        *("--devices", "40", "--hours", "0.5", "--broker", served.broker_url),
        *("--speed", "120", "--json"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["mean_accuracy"] > scenario.ladder.accuracies[-1] + 0.05
    assert report["switches_per_device_hour"] > 0
    status = json.loads(served.run("status", "--json").stdout)
    assert status["devices"] == 40
    assert status["messages"]["malformed"] == 0
    # Each of 60 periods at most, and one in six at least: what changes little is not said.
    assert 40 * 10 < status["messages"]["heard"] < 40 * 60


def test_a_device_without_a_connection_neither_speaks_nor_hears(scenario: Scenario) -> None:
    world = World(scenario, 3)
    devices, weather = Devices(world), world.step()
    weather.is_away[:] = [True, False, False]

    told = {number for number, _ in devices.tell(world.base_ms[:, 0], Body(world), weather)}
    assert 0 not in told


def test_late_telemetry_comes_a_period_later_also_where_nothing_is_said_then(
    scenario: Scenario,
) -> None:
    world = World(scenario, 2)
    devices, body, weather = Devices(world), Body(world), world.step()
    for each in (weather.is_away, weather.is_lost, weather.is_doubled, weather.is_late):
        each[:] = False
    weather.is_late[0] = True
    calm_ms = world.base_ms[:, -1]

    heard = [
        [(number, said.sequence) for number, said in devices.tell(calm_ms, body, weather)]
        for _ in range(3)
    ]
    assert heard == [[(1, 1)], [(0, 1)], []]


def test_the_result_does_not_depend_on_how_many_processes_play(scenario: Scenario) -> None:
    short = scenario.model_copy(update={"hours": 0.1})
    alone, together = (
        play_in_parts(short, PART_DEVICES + 20, ("planner",), jobs=jobs)["planner"]
        for jobs in (1, 2)
    )
    assert alone.describe() == together.describe()
    assert alone.device_count == PART_DEVICES + 20
