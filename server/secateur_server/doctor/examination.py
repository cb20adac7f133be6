"""All checks, in the order in which one would look."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from secateur_server.doctor import fleet, machine
from secateur_server.doctor.finding import Finding, is_unwell, skipped


def examine(
    broker: str, site: str, data: Path, database: str | None, now: datetime
) -> Iterator[Finding]:
    """Look at everything that can be looked at from here, one finding after the other.

    Args:
        broker: Its address, with the login of who looks.
        site: Whose coordinator to ask.
        data: The server's folder. Where there is none, what belongs to it is left out.
        database: A URL. ``None``: SQLite in ``data``.
        now: UTC.
    """
    yield from machine.versions()
    yield from machine.clock(now, data)
    yield from machine.folder(data)
    if data.is_dir():
        yield from machine.database(data, database)
        yield from machine.registry(data)
        yield from machine.keys(data, now)
    entries = list(fleet.broker(broker))
    yield from entries
    if is_unwell(entries):
        yield skipped("access", "without a broker nobody can tell")
        yield skipped("coordinator", "without a broker nobody can tell")
        return
    yield from fleet.access(broker, site)
    yield from fleet.coordinator(broker, site)
