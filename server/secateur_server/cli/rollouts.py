"""``secateur rollout start | status | pause | resume | halt | approve | forget``."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur_server.cli.operators import BROKER, DEFAULT_BROKER, JSON, SITE, request
from secateur_server.errors import EXIT_FAILED, InputError

if TYPE_CHECKING:
    from secateur_protocols.rollout import RolloutStatus

ROLLOUT = Annotated[
    str | None, typer.Argument(help="Its name; none: the one that is under way.")
]
WATCH = Annotated[bool, typer.Option("--watch", help="Follow it until it ends.")]
UNDER_WAY = {"watching", "awaiting", "paused"}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    rollout = typer.Typer(help="Bring a new version to the fleet, in waves.")
    for command in (start, status, pause, resume, halt, approve, forget):
        rollout.command()(command)
    app.add_typer(rollout, name="rollout")


def start(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[str | None, typer.Option(help="None: the one published last.")] = None,
    waves: Annotated[str, typer.Option(help="Devices in all, wave by wave.")] = "1,5%,25%,100%",
    soak_s: Annotated[float | None, typer.Option(help="Watched so long, each device.")] = None,
    baseline_s: Annotated[float | None, typer.Option(help="Watched before, at most.")] = None,
    deadline_s: Annotated[float | None, typer.Option(help="For a device to change.")] = None,
    max_p95_ratio: Annotated[float | None, typer.Option(help="Times as slow.")] = None,
    max_miss_rise: Annotated[float | None, typer.Option(help="More late, 0 to 1.")] = None,
    max_accuracy_drop: Annotated[
        float | None, typer.Option(help="Less accurate, 0 to 1.")
    ] = None,
    max_memory_rise: Annotated[float | None, typer.Option(help="More in use, 0 to 1.")] = None,
    max_temperature_rise_c: Annotated[float | None, typer.Option(help="Warmer.")] = None,
    max_bad_ratio: Annotated[float | None, typer.Option(help="Bad devices, 0 to 1.")] = None,
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    *,
    approve_each_wave: Annotated[
        bool, typer.Option("--approve-each-wave", help="Each further wave waits for you.")
    ] = False,
    watch: WATCH = False,
    as_json: JSON = False,
) -> None:
    """Bring a published version of a model to the site's devices."""
    gates = {
        "max_p95_ratio": max_p95_ratio,
        "max_miss_rise": max_miss_rise,
        "max_accuracy_drop": max_accuracy_drop,
        "max_memory_rise": max_memory_rise,
        "max_temperature_rise_c": max_temperature_rise_c,
        "max_bad_ratio": max_bad_ratio,
    }
    plan = {
        "waves": tuple(part.strip() for part in waves.split(",")),
        "soak_s": soak_s,
        "baseline_s": baseline_s,
        "deadline_s": deadline_s,
        "approve_each_wave": approve_each_wave,
        "gates": _given(gates),
    }
    action = {
        "action": "start_rollout",
        "model": model,
        "version": version,
        "plan": _given(plan),
    }
    begun = _parse(request(broker, site, action))
    if watch:
        _watch(broker, site, begun.rollout, as_json=as_json)
    else:
        _show(begun, as_json=as_json)


def status(
    rollout: Annotated[str | None, typer.Argument(help="None: all, in short.")] = None,
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    *,
    watch: WATCH = False,
    as_json: JSON = False,
) -> None:
    """Show where rollouts stand: waves, counts, gates, reasons."""
    if watch:
        _watch(broker, site, rollout or _find_only(broker, site), as_json=as_json)
        return
    if rollout is not None:
        found = _ask(broker, site, rollout)[0]
        _show(_parse(found), as_json=as_json)
        return
    rows = _ask(broker, site, None)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from secateur_server.cli.rollout_view import list_table, show

    show(list_table(rows))


def pause(
    rollout: ROLLOUT = None,
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    *,
    as_json: JSON = False,
) -> None:
    """Let no further device change; those that have stay and are watched."""
    _steer(broker, site, rollout, as_json=as_json, order="pause")


def resume(
    rollout: ROLLOUT = None,
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    *,
    as_json: JSON = False,
) -> None:
    """Let a paused rollout go on."""
    _steer(broker, site, rollout, as_json=as_json, order="resume")


def halt(
    rollout: ROLLOUT = None,
    reason: Annotated[str | None, typer.Option(help="For who reads the status.")] = None,
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    *,
    as_json: JSON = False,
) -> None:
    """End a rollout and give every device of it the stable version again."""
    _steer(broker, site, rollout, as_json=as_json, order="halt", reason=reason)


def approve(
    rollout: ROLLOUT = None,
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    *,
    as_json: JSON = False,
) -> None:
    """Let the next wave open."""
    name = rollout or _find_only(broker, site)
    wave = _ask(broker, site, name)[0]["wave"]
    _steer(broker, site, name, as_json=as_json, order="approve", wave=wave)


def forget(
    rollout: Annotated[str, typer.Argument(help="Its name.")],
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    *,
    as_json: JSON = False,
) -> None:
    """Forget a rollout that has ended."""
    _steer(broker, site, rollout, as_json=as_json, order="forget")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _steer(
    broker: str, site: str, rollout: str | None, *, as_json: bool, **order: str | int | None
) -> None:
    name = rollout or _find_only(broker, site)
    action = {"action": "steer_rollout", "rollout": name, **order}
    _show(_parse(request(broker, site, action)), as_json=as_json)


def _ask(broker: str, site: str, rollout: str | None) -> list[dict[str, Any]]:
    answer: Any = request(broker, site, {"action": "show_rollouts", "rollout": rollout})
    rows: list[dict[str, Any]] = answer["rollouts"]
    return rows


def _find_only(broker: str, site: str) -> str:
    """Name the one rollout that is under way."""
    names = [row["rollout"] for row in _ask(broker, site, None) if row["state"] in UNDER_WAY]
    if len(names) == 1:
        found: str = names[0]
        return found
    if not names:
        raise InputError("no rollout is under way: name one of 'secateur rollout status'")
    raise InputError(f"more than one rollout is under way, name one: {', '.join(names)}")


def _parse(document: object) -> "RolloutStatus":
    from secateur_protocols.rollout import RolloutStatus

    return RolloutStatus.model_validate_json(json.dumps(document))


def _show(found: "RolloutStatus", *, as_json: bool) -> None:
    if as_json:
        typer.echo(found.model_dump_json(exclude_none=True))
        return
    from secateur_server.cli.rollout_view import show, status_view

    show(status_view(found))


def _watch(broker: str, site: str, rollout: str, *, as_json: bool) -> None:
    """Follow a rollout; one that does not succeed is exit code 1."""
    from secateur_server.cli.rollout_view import follow

    _ask(broker, site, rollout)  # a name that is not known is said at once
    if not follow(broker, site, rollout, as_json=as_json):
        raise typer.Exit(EXIT_FAILED)
