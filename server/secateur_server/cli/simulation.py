"""``secateur simulate``: a fleet that is played, by the real planner or coordinator."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from secateur_server.cli.operators import site_name
from secateur_server.errors import InputError

MAX_DEVICES = 100_000
MAX_HOURS = 24 * 366


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(simulate)


def simulate(
    scenario: Annotated[Path, typer.Option(help="A TOML file.")],
    devices: Annotated[int, typer.Option(min=1, max=MAX_DEVICES, help="How many.")] = 100,
    hours: Annotated[float | None, typer.Option(help="None: the scenario's.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Without --broker: processes; none: one per core."),
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help="Play against a running coordinator; none: no MQTT.")
    ] = None,
    site: Annotated[
        str, typer.Option(help="Of that coordinator.", callback=site_name)
    ] = "default",
    speed: Annotated[float, typer.Option(min=0.1, help="With --broker: times real.")] = 60.0,
    connections: Annotated[int, typer.Option(min=1, max=200, help="With --broker.")] = 4,
    write_ladder: Annotated[
        Path | None, typer.Option(help="Only write what --broker's coordinator must publish.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Play a fleet: deadline misses, accuracy, switches, and regret against an oracle."""
    from secateur_server.simulation import scenario as scenarios
    from secateur_server.simulation.report import regret_points
    from secateur_server.simulation.shards import play_in_parts
    from secateur_server.simulation.wire import play_on_broker

    played = scenarios.read_scenario(scenario)
    if write_ladder is not None:
        scenarios.write_ladder(scenarios.make_ladder(played.ladder), write_ladder)
        return
    if hours is not None:
        if not 0 < hours <= MAX_HOURS:
            raise InputError(f"{hours} hours is not above 0 and within a year")
        played = played.model_copy(update={"hours": hours})
    processes = jobs or os.cpu_count() or 1
    if broker is None:
        tallies = play_in_parts(played, devices, ("planner", "oracle"), jobs=processes)
        tally, oracle = tallies["planner"], tallies["oracle"]
    else:
        tally = play_on_broker(
            played, devices, broker, site=site, speed=speed, connections=connections
        )
        oracle = play_in_parts(played, devices, ("oracle",), jobs=processes)["oracle"]
    report: dict[str, Any] = {
        "devices": devices,
        "hours": played.hours,
        **tally.describe(),
        "oracle_miss_rate": oracle.describe()["miss_rate"],
        "regret_points": regret_points(oracle, tally),
        "by_class": tally.describe_classes(),
    }
    if as_json:
        typer.echo(json.dumps(report))
        return
    for name, value in report.items():
        if not isinstance(value, dict):
            typer.echo(f"{name.replace('_', ' ')}: {value:.4g}")
    for name, figures in tally.describe_classes().items():
        typer.echo(
            f"  {name}: misses {figures['miss_rate']:.2%}, "
            f"accuracy {figures['mean_accuracy']:.4f}"
        )
