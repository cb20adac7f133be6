"""``secateur keys``: make, replace and revoke the keys that sign what devices install."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur_server.errors import InputError

if TYPE_CHECKING:
    from secateur_server.signing.places import Places
    from secateur_server.signing.roles import Role
    from secateur_server.signing.sealed import Passphrases

PASSPHRASE_VARIABLE = "SECATEUR_PASSPHRASE"  # noqa: S105 - its name
FEWEST_CHARACTERS = 12
"""Of a new passphrase: who steals the file can try offline, twice a second and core."""

DATA = Annotated[Path, typer.Option(help="The server's folder.")]
KEYS = Annotated[
    list[Path] | None,
    typer.Option(help="A folder of offline keys; may be repeated.", envvar="SECATEUR_KEYS"),
]
PASSPHRASE_FILE = Annotated[
    Path | None, typer.Option(help=f"Its first line; none: ${PASSPHRASE_VARIABLE}, or asked.")
]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_DATA = Path("secateur-data")
DEFAULT_KEYS = Path("secateur-keys")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    keys = typer.Typer(help="Keys that sign what devices may install.")
    for command in (init, status, rotate, revoke, renew):
        keys.command()(command)
    app.add_typer(keys, name="keys")


def init(
    keys: Annotated[Path, typer.Option(help="A new folder for offline keys.")] = DEFAULT_KEYS,
    data: DATA = DEFAULT_DATA,
    root_keys: Annotated[int, typer.Option(help="How many root keys.")] = 3,
    root_threshold: Annotated[int, typer.Option(help="How many of them sign.")] = 2,
    root_days: Annotated[int, typer.Option(help="Root metadata holds so long.")] = 730,
    targets_days: Annotated[int, typer.Option(help="The list of ladders likewise.")] = 365,
    timestamp_hours: Annotated[int, typer.Option(help="The timestamp likewise.")] = 24,
    passphrase_file: PASSPHRASE_FILE = None,
    *,
    as_json: JSON = False,
) -> None:
    """Make all keys and the fleet's CA, and sign a registry that lists no ladder yet."""
    from pydantic import ValidationError

    from secateur_protocols.codec import first_problem
    from secateur_server.enrolment.authority import AUTHORITY, FleetAuthority
    from secateur_server.signing import ceremony
    from secateur_server.signing.roles import DAY_H, Lifetimes

    try:
        lifetimes = Lifetimes(
            root=root_days * DAY_H, targets=targets_days * DAY_H, timestamp=timestamp_hours
        )
    except ValidationError as error:
        raise InputError(f"lifetime of {first_problem(error)}") from error
    plan = ceremony.Plan(
        root_keys=root_keys, root_threshold=root_threshold, lifetimes=lifetimes
    )
    plan.check()
    places = find_places(data, [keys])
    passphrase = new_passphrase(passphrase_file)
    ceremony.initialize(places, plan, passphrase, datetime.now(UTC))
    if not FleetAuthority.exists(data):
        FleetAuthority.create(data / AUTHORITY, now=datetime.now(UTC))
    _show(places, as_json=as_json)
    if not as_json:
        typer.echo(f"offline keys are in {keys}: keep them, and copies, away from the server")


def status(data: DATA = DEFAULT_DATA, *, as_json: JSON = False) -> None:
    """Show which keys count, what they have signed, and when that expires."""
    _show(find_places(data, None), as_json=as_json)


def rotate(
    role: Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp.")],
    key: Annotated[str | None, typer.Option(help="Which one goes: how its id begins.")] = None,
    uri: Annotated[
        str | None, typer.Option(help="Of a key that something else holds, say hashivault:.")
    ] = None,
    public: Annotated[Path | None, typer.Option(help="With --uri: its public PEM.")] = None,
    keys: KEYS = None,
    data: DATA = DEFAULT_DATA,
    passphrase_file: PASSPHRASE_FILE = None,
    *,
    as_json: JSON = False,
) -> None:
    """Let a new key take the place of one, and sign again what that had signed."""
    from secateur_server.signing import ceremony

    replacement = ceremony.Replacement(uri, public, lambda: new_passphrase(passphrase_file))
    done = ceremony.rotate(
        find_places(data, keys),
        _role(role),
        replacement,
        known_passphrases(passphrase_file),
        datetime.now(UTC),
        key=key,
    )
    _report(
        f"{done['role']}: {done['added'][:12]} in place of {done['removed'][:12]}, "
        f"root version {done['root_version']}",
        done,
        as_json=as_json,
    )


def revoke(
    key: Annotated[str, typer.Argument(help="How its id begins.")],
    keys: KEYS = None,
    data: DATA = DEFAULT_DATA,
    passphrase_file: PASSPHRASE_FILE = None,
    *,
    as_json: JSON = False,
) -> None:
    """Let a key count no longer, with nothing in its place."""
    from secateur_server.signing import ceremony

    passphrases = known_passphrases(passphrase_file)
    done = ceremony.revoke(find_places(data, keys), key, passphrases, datetime.now(UTC))
    words = f"{done['role']}: {done['removed'][:12]} counts no longer"
    _report(f"{words}, root version {done['root_version']}", done, as_json=as_json)


def renew(
    keys: KEYS = None,
    data: DATA = DEFAULT_DATA,
    passphrase_file: PASSPHRASE_FILE = None,
    *,
    as_json: JSON = False,
) -> None:
    """Sign root metadata and the list of ladders anew, before they expire."""
    from secateur_server.signing import ceremony

    places = find_places(data, keys)
    ceremony.renew(places, known_passphrases(passphrase_file), datetime.now(UTC))
    _show(places, as_json=as_json)


def known_passphrases(path: Path | None) -> "Passphrases":
    """Collect what may open keys: a file, the environment, or whom we can ask."""
    from secateur_server.signing.sealed import Passphrases

    given = _given_passphrase(path)
    if given is not None:
        return Passphrases([given])
    if not sys.stdin.isatty():
        return Passphrases([])
    return Passphrases(
        [], lambda name: str(typer.prompt(f"passphrase of {name}", hide_input=True))
    )


def new_passphrase(path: Path | None) -> str:
    """Get a passphrase for a new key, twice where somebody types it.

    Raises:
        InputError: There is none, or it is too short.
    """
    passphrase = _given_passphrase(path)
    if passphrase is None:
        if not sys.stdin.isatty():
            raise InputError(
                f"a new key needs a passphrase: give --passphrase-file or {PASSPHRASE_VARIABLE}"
            )
        passphrase = str(
            typer.prompt("new passphrase", hide_input=True, confirmation_prompt=True)
        )
    if len(passphrase) < FEWEST_CHARACTERS:
        raise InputError(f"a passphrase takes at least {FEWEST_CHARACTERS} characters")
    return passphrase


def _given_passphrase(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(PASSPHRASE_VARIABLE)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read a passphrase from {path}: {error}") from error
    return lines[0] if lines else ""


def find_places(data: Path, keys: list[Path] | None) -> "Places":
    """Give where keys and signed metadata are."""
    from secateur_server.signing.places import Places

    return Places(data, tuple(keys or ()))


def _role(name: str) -> "Role":
    from secateur_server.signing.roles import Role

    try:
        return Role(name)
    except ValueError as error:
        raise InputError(f"{name} is no role: {', '.join(Role)}") from error


def _report(words: str, facts: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(json.dumps(facts) if as_json else words)


def _show(places: "Places", *, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from secateur_server.signing.standing import status as look_up

    found = look_up(places, datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table("role", "keys", "to sign", "version", "expires")
    for role, facts in found["roles"].items():
        expires = facts["expires_at"] or "-"
        table.add_row(
            role,
            ", ".join(key[:12] for key in facts["keys"]),
            str(facts["threshold"]),
            str(facts["version"] or "-"),
            f"{expires} (expired)" if facts["expired"] else expires,
        )
    Console().print(table)
    typer.echo(f"{len(found['ladders'])} ladders may be installed")
    typer.echo(f"give devices {found['root']}")
