"""Rollouts in the database: their records, their devices, and the stable versions.

All rollouts of a site share one version number. A change is written only by who has read the
newest one, so that of two replicas that act at once one fails and reads again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError

from secateur_protocols.ids import DeviceId, ModelName, Version
from secateur_protocols.rollout import RolloutId
from secateur_server.adapters.schema import (
    ROLLOUT_DEVICES,
    ROLLOUT_VERSIONS,
    ROLLOUTS,
    STABLE_VERSIONS,
)
from secateur_server.adapters.store import Store
from secateur_server.core.evidence import Evidence
from secateur_server.core.rollout import Member, Rollout
from secateur_server.errors import RolloutConflictError

_ROLLOUT = TypeAdapter(Rollout)
_MEMBER = TypeAdapter(Member)
_EVIDENCE = TypeAdapter(Evidence)


@dataclass(frozen=True, slots=True)
class Kept:
    """A rollout as it was saved, and what its devices had shown."""

    rollout: Rollout
    evidence: Mapping[DeviceId, Evidence]


@dataclass(frozen=True, slots=True)
class Change:
    """What of one rollout is to be saved.

    Attributes:
        devices: Whose place or evidence has changed.
        is_news: Whether others must read it; else only clock and evidence have gone on.
        promoted: The version that is the stable one from now on. ``None``: as before.
    """

    rollout: Rollout
    devices: Mapping[DeviceId, tuple[Member, Evidence]] = field(default_factory=dict)
    is_news: bool = True
    promoted: Version | None = None


class RolloutStore:
    """One site's rollouts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._site = store.site

    def version(self) -> int:
        """Say which version the database holds; 0: there was never a rollout."""
        with self._store.transaction() as connection:
            return self._version(connection)

    def load(self) -> tuple[int, dict[RolloutId, Kept]]:
        """Read all rollouts, and of which version they are.

        One that another program wrote otherwise is left out.
        """
        with self._store.transaction() as connection:
            version = self._version(connection)
            records = self._rows(connection, ROLLOUTS)
            devices = self._rows(connection, ROLLOUT_DEVICES)
        kept: dict[RolloutId, Kept] = {}
        for row in records:
            ours = [each for each in devices if each["rollout"] == row["rollout"]]
            try:
                kept[row["rollout"]] = _parse(row["record"], ours)
            except ValidationError:
                continue
        return version, kept

    def save(self, known: int, changes: Sequence[Change]) -> int:
        """Write changes, all or nothing.

        Args:
            known: The version that they were derived from.
            changes: Of at most one version's worth.

        Returns:
            The version from now on.

        Raises:
            RolloutConflictError: The database holds another version; nothing was written.
            TransientError: The database did not take it; nothing was written.
        """
        is_news = any(change.is_news for change in changes)
        with self._store.transaction() as connection:
            self._claim(connection, known, known + is_news)
            for change in changes:
                self._write(connection, change)
        return known + is_news

    def forget(self, known: int, rollout: RolloutId) -> int:
        """Delete a rollout; raises as `save` does."""
        with self._store.transaction() as connection:
            self._claim(connection, known, known + 1)
            for table in (ROLLOUTS, ROLLOUT_DEVICES):
                ours = (table.c.site == self._site) & (table.c.rollout == rollout)
                connection.execute(sa.delete(table).where(ours))
        return known + 1

    def stable_versions(self) -> dict[ModelName, Version]:
        """Read which version of each model is the stable one."""
        with self._store.transaction() as connection:
            rows = self._rows(connection, STABLE_VERSIONS)
        return {row["model"]: row["version"] for row in rows}

    def begin_stable(self, model: ModelName, version: Version) -> None:
        """Let a model begin with a version, unless it has begun."""
        row = {"site": self._site, "model": model, "version": version}
        # A key that is there keeps what it has: it is set to itself.
        statement = self._store.upsert(STABLE_VERSIONS, ["site", "model"], ["model"])
        with self._store.transaction() as connection:
            connection.execute(statement, [row])

    def _write(self, connection: sa.Connection, change: Change) -> None:
        name = {"site": self._site, "rollout": change.rollout.rollout}
        # Members have rows of their own: few of many change at a time.
        record = _ROLLOUT.dump_json(replace(change.rollout, members={})).decode()
        upsert = self._store.upsert(ROLLOUTS, ["site", "rollout"], ["record"])
        connection.execute(upsert, [{**name, "record": record}])
        rows = [
            {
                **name,
                "device": device,
                "member": _MEMBER.dump_json(member).decode(),
                "evidence": _EVIDENCE.dump_json(evidence).decode(),
            }
            for device, (member, evidence) in sorted(change.devices.items())
        ]
        if rows:
            keys = ["site", "rollout", "device"]
            upsert = self._store.upsert(ROLLOUT_DEVICES, keys, ["member", "evidence"])
            connection.execute(upsert, rows)
        if change.promoted is not None:
            row = {"site": self._site, "model": change.rollout.model}
            upsert = self._store.upsert(STABLE_VERSIONS, ["site", "model"], ["version"])
            connection.execute(upsert, [{**row, "version": change.promoted}])

    def _claim(self, connection: sa.Connection, known: int, following: int) -> None:
        """Make sure that we know the newest version, and hold it until the end."""
        ours = ROLLOUT_VERSIONS.c.site == self._site
        if known == 0:
            row = {"site": self._site, "version": 0}
            begin = self._store.upsert(ROLLOUT_VERSIONS, ["site"], ["site"])
            connection.execute(begin, [row])
        claimed = connection.execute(
            sa.update(ROLLOUT_VERSIONS)
            .where(ours, ROLLOUT_VERSIONS.c.version == known)
            .values(version=following)
        )
        if claimed.rowcount != 1:
            raise RolloutConflictError("rollouts were changed by another coordinator")

    def _version(self, connection: sa.Connection) -> int:
        ours = ROLLOUT_VERSIONS.c.site == self._site
        return (
            connection.execute(sa.select(ROLLOUT_VERSIONS.c.version).where(ours)).scalar() or 0
        )

    def _rows(self, connection: sa.Connection, table: sa.Table) -> Sequence[Mapping[str, Any]]:
        query = sa.select(table).where(table.c.site == self._site)
        return [dict(row) for row in connection.execute(query).mappings()]


def _parse(record: str, devices: Sequence[Mapping[str, Any]]) -> Kept:
    members = {row["device"]: _MEMBER.validate_json(row["member"]) for row in devices}
    evidence = {row["device"]: _EVIDENCE.validate_json(row["evidence"]) for row in devices}
    return Kept(replace(_ROLLOUT.validate_json(record), members=members), evidence)
