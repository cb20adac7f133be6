"""This machine: versions, clock, and the server's folder with database, registry and keys."""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import secateur_server.migrations
from secateur_server.adapters.store import make_engine
from secateur_server.doctor.finding import Finding, ok, problem, skipped, warning
from secateur_server.errors import ServerError
from secateur_server.registry.registry import Registry
from secateur_server.signing.places import Places
from secateur_server.signing.standing import expiries

PARTS = ("secateur", "ai-edge-litert", "paho-mqtt", "sqlalchemy", "tuf")

SCARCE_BYTES = 1_000_000_000
"""With less free space a server is warned of: a ladder and a database's growth take some."""

SOON = timedelta(days=21)
"""Metadata that only offline keys renew is warned of before."""

TOOL_S = 10.0


def versions() -> Iterator[Finding]:
    """Say what is installed."""
    found = [f"Python {platform.python_version()}"]
    for part in PARTS:
        try:
            found.append(f"{part} {importlib.metadata.version(part)}")
        except importlib.metadata.PackageNotFoundError:
            mend = "pip install 'secateur[server]'"
            yield problem("versions", f"{part} is not installed", mend)
    yield ok("versions", ", ".join(found))


def clock(now: datetime, data: Path) -> Iterator[Finding]:
    """Look whether the clock is kept right, and not behind what this machine has written.

    Source: systemd's ``timedatectl show``, property ``NTPSynchronized``.
    """
    written_s = [each.stat().st_mtime for each in data.iterdir()] if data.is_dir() else []
    text = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if max(written_s, default=0.0) > now.timestamp() + 60:
        yield problem(
            "clock",
            f"{text} is before the time at which files in {data} were written",
            "set the clock: signed metadata is judged by it",
        )
        return
    match _is_synchronized():
        case True:
            yield ok("clock", f"{text}, kept right by the network")
        case False:
            yield warning(
                "clock",
                f"{text}, not kept right by the network",
                "timedatectl set-ntp true, or install chrony",
            )
        case None:
            yield ok("clock", f"{text}; whether the network keeps it right cannot be told here")


def _is_synchronized() -> bool | None:
    tool = shutil.which("timedatectl")
    if tool is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - systemd's own tool
            [tool, "show", "-p", "NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=TOOL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout.strip()
    return said == "yes" if said in {"yes", "no"} else None


def folder(data: Path) -> Iterator[Finding]:
    """Look at the server's folder itself."""
    if not data.is_dir():
        yield skipped("folder", f"{data} is not here: name the server's folder with --data")
        return
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        mend = "run it as the user that serves, or chown the folder"
        yield problem("folder", f"{data} may not be written by this user", mend)
        return
    free = shutil.disk_usage(data).free
    if free < SCARCE_BYTES:
        mend = "make room: nothing can be published or saved on a full disk"
        yield warning("folder", f"{data} has {free / 1e6:.0f} MB left", mend)
    else:
        yield ok("folder", f"{data}, {free / 1e9:.0f} GB free")


def database(data: Path, url: str | None) -> Iterator[Finding]:
    """Look whether the database answers and has the schema of this version."""
    file = data / "secateur.sqlite"
    if url is None and not file.exists():
        yield skipped("database", f"{file} is not there yet: 'secateur serve' makes it")
        return
    kind = "PostgreSQL" if url else "SQLite"
    try:
        # Opened to be read alone: a check leaves no file behind.
        readable = f"sqlite:///file:{quote(str(file))}?mode=ro&uri=true"
        engine = make_engine(url) if url else sa.create_engine(readable)
        with engine.connect() as connection:
            held = MigrationContext.configure(connection).get_current_revision()
        engine.dispose()
    except (sa.exc.SQLAlchemyError, ServerError) as error:
        mend = "start the database, or give its address as --database"
        yield problem("database", f"{kind} does not answer: {_first_line(error)}", mend)
        return
    newest = _newest_schema()
    if held == newest:
        yield ok("database", f"{kind}, schema {held}")
    elif held in _schemas():
        mend = "'secateur serve' brings it up to date when it starts; back it up before"
        yield warning("database", f"{kind}, schema {held}; this version has {newest}", mend)
    else:
        mend = "it is another program's, or a newer version's: upgrade secateur"
        yield problem("database", f"{kind}, schema {held}, which is not known here", mend)


def _scripts() -> ScriptDirectory:
    config = Config()
    path = Path(secateur_server.migrations.__file__).parent
    config.set_main_option("script_location", str(path).replace("%", "%%"))
    return ScriptDirectory.from_config(config)


def _newest_schema() -> str | None:
    return _scripts().get_current_head()


def _schemas() -> set[str]:
    return {each.revision for each in _scripts().walk_revisions()}


def registry(data: Path) -> Iterator[Finding]:
    """Look whether all artifacts of the stable versions are whole."""
    held = Registry(data / "registry")
    try:
        stable = held.stable()
    except ServerError as error:
        yield problem("registry", str(error), "secateur restore, from a backup")
        return
    if not stable:
        yield skipped("registry", "nothing is published yet: secateur publish")
        return
    for model, published in sorted(stable.items()):
        digests = [published.ref.digest]
        digests += [
            digest
            for level in published.ladder.levels
            for digest in (level.digest, level.golden.digest)
        ]
        damaged = [each for each in digests if not _is_whole(held.blobs_dir / each, each)]
        name = f"{model} {published.ladder.version}"
        if damaged:
            mend = "secateur restore, or publish it again from its ladder"
            text = f"{name}: {len(damaged)} of {len(digests)} files are missing or damaged"
            yield problem("registry", text, mend)
        else:
            yield ok("registry", f"{name}: {len(published.ladder.levels)} levels, all whole")


def _is_whole(path: Path, digest: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:
        return False


def keys(data: Path, now: datetime) -> Iterator[Finding]:
    """Look whether the registry is signed, by keys that are here, and for how long."""
    places = Places(data)
    if not places.repository.is_signed:
        mend = "secateur keys init; until then only agents that accept unsigned models follow"
        yield warning("keys", "the registry is not signed", mend)
        return
    if not places.is_coordinator:
        text = f"the coordinator's keys are not in {places.online_dir}"
        yield problem("keys", text, "bring them from a backup, or secateur keys rotate")
    try:
        found = expiries(places)
    except ServerError as error:
        yield problem("keys", str(error), "secateur restore, from a backup")
        return
    for role, expires in found.items():
        yield _expiry(role, expires, now)


def _expiry(role: str, expires: datetime | None, now: datetime) -> Finding:
    is_offline = role in {"root", "targets"}
    mend = "secateur keys renew" if is_offline else "'secateur serve' renews it while it runs"
    if expires is None:
        return problem("keys", f"{role}: there is no metadata", mend)
    when = f"{role}: good until {expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if expires <= now:
        return problem("keys", when.replace("good until", "expired at"), mend)
    if is_offline and expires - now < SOON:
        return warning("keys", when, mend)
    return ok("keys", when)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
