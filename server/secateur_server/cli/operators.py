"""``secateur devices | status | policy | pin | rebirth | forget``: an operator's requests."""

import json
import re
from typing import Annotated, Any

import typer

from secateur_protocols.ids import NAME_PATTERN
from secateur_server.errors import InputError


def site_name(site: str) -> str:
    """Give the site back.

    Raises:
        InputError: It cannot be the name of one.
    """
    if not re.fullmatch(NAME_PATTERN, site):
        msg = f"--site {site}: a site is named by lower-case letters, digits and inner hyphens"
        raise InputError(msg)
    return site


BROKER = Annotated[str, typer.Option(help="Where the broker is.", envvar="SECATEUR_BROKER")]
SITE = Annotated[str, typer.Option(help="Which site.", callback=site_name)]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_BROKER = "mqtt://127.0.0.1:1883"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(devices)
    app.command()(status)
    app.command()(rebirth)
    app.command()(forget)
    app.command()(pin)
    policy = typer.Typer(help="Deadlines, floors and patience.")
    policy.command("set")(set_policy)
    policy.command("show")(show_policy)
    app.add_typer(policy, name="policy")


def devices(
    broker: BROKER = DEFAULT_BROKER, site: SITE = "default", *, as_json: JSON = False
) -> None:
    """List the devices that the coordinator knows."""
    rows = _list_devices(broker, site)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("device", "state", "class", "model", "level", "p95 / deadline", "why")
    for row in rows:
        for model in row["models"] or [{}]:
            cells = (
                row["device"],
                row["state"],
                row["hardware_class"] or "-",
                model.get("model", "-"),
                _level(model),
                _latency(model),
                model.get("reason") or "-",
            )
            # What a device says of itself is no markup.
            table.add_row(*map(escape, cells))
    Console().print(table)


def _list_devices(broker: str, site: str) -> list[dict[str, Any]]:
    from secateur_protocols.control import ListDevices
    from secateur_server.adapters.operator import OperatorClient

    client = OperatorClient(broker, site)
    rows: list[dict[str, Any]] = []
    try:
        while True:
            after = rows[-1]["device"] if rows else ""
            page: Any = client.request(ListDevices(after=after)).result
            rows += page["devices"]
            if not page["more"]:
                return rows
    finally:
        client.close()


def _level(model: dict[str, Any]) -> str:
    if "level" not in model:
        return "-"
    level, desired = model["level"], model["desired_level"]
    return f"{level}" if desired in {None, level} else f"{level} -> {desired}"


def _latency(model: dict[str, Any]) -> str:
    if model.get("p95_ms") is None:
        return "-"
    return f"{model['p95_ms']:.2f} / {model['deadline_ms']:.2f} ms"


def status(
    broker: BROKER = DEFAULT_BROKER, site: SITE = "default", *, as_json: JSON = False
) -> None:
    """Show what the coordinator knows, has met, and refused."""
    found: Any = request(broker, site, {"action": "show_status"})
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        shown = value
        if isinstance(value, dict):
            shown = ", ".join(f"{key} {count}" for key, count in value.items() if count)
        elif isinstance(value, list):
            shown = ", ".join(map(str, value))
        typer.echo(f"{name.replace('_', ' ')}: {'-' if shown in {'', None} else shown}")


def set_policy(
    device: Annotated[str | None, typer.Option(help="None: every device.")] = None,
    selector: Annotated[str | None, typer.Option(help="By labels: key=value,...")] = None,
    model: Annotated[str | None, typer.Option(help="None: every model.")] = None,
    deadline_ms: Annotated[float | None, typer.Option(help="p95 stays below.")] = None,
    accuracy_floor: Annotated[float | None, typer.Option(help="0 to 1.")] = None,
    headroom: Annotated[float | None, typer.Option(help="Free share, 0 to 1.")] = None,
    patience: Annotated[int | None, typer.Option(help="Periods.")] = None,
    weight: Annotated[float | None, typer.Option(help="Beside other models.")] = None,
    cpu_limit: Annotated[float | None, typer.Option(help="Busy share, 0 to 1.")] = None,
    temperature_limit_c: Annotated[float | None, typer.Option(help="Narrower above.")] = None,
    battery_floor: Annotated[float | None, typer.Option(help="Charge, 0 to 1.")] = None,
    quiet_hours: Annotated[str | None, typer.Option(help="HH:MM-HH:MM, UTC.")] = None,
    unset: Annotated[
        list[str] | None, typer.Option(help="An option to forget, as it is spelt here.")
    ] = None,
    if_version: Annotated[int | None, typer.Option(help="Only if still of it.")] = None,
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
    *,
    clear: Annotated[bool, typer.Option(help="Forget what was set here first.")] = False,
) -> None:
    """Set policy for a device, a selector or all, and a model or all."""
    change = {
        "deadline_ms": deadline_ms,
        "accuracy_floor": accuracy_floor,
        "headroom": headroom,
        "patience": patience,
        "weight": weight,
        "cpu_limit": cpu_limit,
        "temperature_limit_c": temperature_limit_c,
        "battery_floor": battery_floor,
        "quiet_hours": quiet_hours,
    }
    action = {
        "action": "set_policy",
        "device": device,
        "selector": selector,
        "model": model,
        "change": change,
        "clear": clear,
        "unset": tuple(_field(option) for option in unset or ()),
        "if_version": if_version,
    }
    request(broker, site, action)


def _field(option: str) -> str:
    """Give the field of policy that an option of this command sets.

    Raises:
        InputError: No such option.
    """
    from secateur_protocols.control import PolicyChange

    field = option.removeprefix("--").replace("-", "_")
    if field not in PolicyChange.model_fields:
        known = ", ".join(PolicyChange.model_fields).replace("_", "-")
        msg = f"--unset {option}: no option of policy; there are {known}"
        raise InputError(msg)
    return field


def show_policy(
    broker: BROKER = DEFAULT_BROKER, site: SITE = "default", *, as_json: JSON = False
) -> None:
    """Show all policy that is set, from weak to strong."""
    found: Any = request(broker, site, {"action": "show_policy"})
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"version {found['version']}")
    for rule in found["rules"]:
        device, selector = rule.pop("device"), rule.pop("selector")
        scope = f"{device or selector or 'every device'}, {rule.pop('model') or 'every model'}"
        version = rule.pop("version")
        options = ", ".join(f"{key} {value}" for key, value in rule.items())
        typer.echo(f"{scope}: {options} (version {version})")


def pin(
    device: Annotated[str, typer.Argument(help="The device's id.")],
    model: Annotated[str, typer.Argument(help="The model's name.")],
    level: Annotated[str, typer.Argument(help="A level, or 'none' to let the planner decide.")],
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
) -> None:
    """Hold a model on a device at one level. 'none' lets the planner decide again."""
    if level != "none" and not level.isdigit():
        raise InputError(f"level {level!r} is neither a number nor 'none'")
    pinned = None if level == "none" else int(level)
    action = {
        "action": "set_policy",
        "device": device,
        "model": model,
        "change": {"pinned_level": pinned},
        "unset": ("pinned_level",),
    }
    request(broker, site, action)


def rebirth(
    device: Annotated[str | None, typer.Argument(help="None: every device.")] = None,
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
) -> None:
    """Have a device, or all, say everything again."""
    request(broker, site, {"action": "rebirth", "device": device})


def forget(
    device: Annotated[str, typer.Argument(help="The device's id.")],
    broker: BROKER = DEFAULT_BROKER,
    site: SITE = "default",
) -> None:
    """Forget a device; one that is alive comes back by itself."""
    request(broker, site, {"action": "forget", "device": device})


def request(broker: str, site: str, action: dict[str, Any]) -> object:
    """Ask the coordinator and give its answer.

    Raises:
        InputError: The action is not one.
        ServerError: No answer in time, or the coordinator refuses.
    """
    from pydantic import TypeAdapter, ValidationError

    from secateur_protocols.codec import first_problem
    from secateur_protocols.control import Action
    from secateur_server.adapters.operator import OperatorClient

    try:
        parsed = TypeAdapter[Action](Action).validate_python(action)
    except ValidationError as error:
        raise InputError(first_problem(error)) from error
    client = OperatorClient(broker, site)
    try:
        return client.request(parsed).result
    finally:
        client.close()
