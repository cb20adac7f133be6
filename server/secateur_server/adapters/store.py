"""What the coordinator must not lose: devices as last known, and policy.

SQLite, in WAL mode, or PostgreSQL by URL. Writes come in batches, rows in the order of their
key, so that replicas that write the same rows wait for each other and never for ever.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from secateur_protocols.codec import decode_document
from secateur_protocols.control import PolicyChange
from secateur_server.adapters.rows import to_desired_row, to_row, to_state
from secateur_server.adapters.schema import (
    DEVICES,
    POLICY_VERSIONS,
    REPLICAS,
    RULES,
    migrate,
)
from secateur_server.core.fleet import DeviceState
from secateur_server.core.policy import Policies, Rule, Scope
from secateur_server.errors import InputError, PolicyConflictError, TransientError

DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}

BUSY_S = 10
"""How long a write waits for another process's, seconds."""


class Store:
    """One site's rows in one database."""

    def __init__(self, url: str, site: str) -> None:
        """Open the database, making it or bringing it up to date as needed.

        Args:
            url: ``sqlite:///path`` or ``postgresql://user:password@host/name``.
            site: Whose rows to read and write.

        Raises:
            InputError: It is no URL of these two, cannot be opened, or is not ours.
        """
        self.site = self._site = site
        self._engine = make_engine(url)
        self.is_shareable = self._engine.dialect.name == "postgresql"
        insert = postgresql.insert if self.is_shareable else sqlite.insert
        self._insert: Callable[[sa.Table], Any] = insert
        try:
            migrate(self._engine)
        except sa.exc.SQLAlchemyError as error:
            self._engine.dispose()
            shown = self._engine.url.render_as_string(hide_password=True)
            reason = str(error).splitlines()[0]
            raise InputError(f"cannot use the database {shown}: {reason}") from error

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Read and write, all or nothing.

        Raises:
            TransientError: The database did not take it; nothing was written.
        """
        with self._write() as connection:
            yield connection

    def upsert(self, table: sa.Table, keys: Sequence[str], values: Sequence[str]) -> Any:  # noqa: ANN401 - untyped by dialect
        """Make a statement that adds rows, or replaces ``values`` of those that are there."""
        statement = self._insert(table)
        return statement.on_conflict_do_update(
            index_elements=list(keys),
            set_={name: statement.excluded[name] for name in values},
        )

    def load_devices(self) -> dict[str, DeviceState]:
        """Read every device of the site."""
        return {state.device: state for state in self._load(DEVICES.c.site == self._site)}

    def load_device(self, device: str) -> DeviceState | None:
        """Read one device; ``None``: it is not there."""
        found = self._load((DEVICES.c.site == self._site) & (DEVICES.c.device == device))
        return next(found, None)

    def save_devices(self, states: Iterable[DeviceState]) -> None:
        """Write what devices said, a batch, all or nothing.

        Raises:
            TransientError: The database did not take it; nothing was written.
        """
        rows = [{"site": self._site, **to_row(state)} for state in states]
        if not rows:
            return
        statement = self._insert(DEVICES)
        said = [name for name in rows[0] if name not in {"site", "device"}]
        upsert = statement.on_conflict_do_update(
            index_elements=["site", "device"],
            set_={name: statement.excluded[name] for name in said},
        )
        with self._write() as connection:
            connection.execute(upsert, sorted(rows, key=_by_device))

    def save_desired(self, states: Iterable[DeviceState]) -> frozenset[str]:
        """Write what is desired of devices, a batch, all or nothing.

        Returns:
            The devices that it now holds for. Of the others somebody has written the same
            or a later revision: `load_device` them.

        Raises:
            TransientError: The database did not take it; nothing was written.
        """
        rows = [
            {"site": self._site, **to_desired_row(state.device, state.desired)}
            for state in states
            if state.desired is not None
        ]
        if not rows:
            return frozenset()
        statement = self._insert(DEVICES)
        upsert = statement.on_conflict_do_update(
            index_elements=["site", "device"],
            set_={name: statement.excluded[name] for name in ("desired", "revision")},
            where=DEVICES.c.revision < statement.excluded.revision,
        ).returning(DEVICES.c.device)
        with self._write() as connection:
            written = connection.execute(upsert, sorted(rows, key=_by_device))
            return frozenset(written.scalars().all())

    def forget_device(self, device: str) -> None:
        """Delete a device's row."""
        with self._write() as connection:
            connection.execute(
                sa.delete(DEVICES).where(
                    DEVICES.c.site == self._site, DEVICES.c.device == device
                )
            )

    def load_policies(self) -> Policies:
        """Read all policy of the site."""
        with self._read() as connection:
            rows = connection.execute(
                sa.select(RULES).where(RULES.c.site == self._site)
            ).mappings()
            rules = {
                Scope(row["device"] or None, row["model"] or None, row["selector"]): Rule(
                    decode_document(PolicyChange, row["change"].encode()), row["version"]
                )
                for row in rows
            }
        return Policies(rules, self.policy_version())

    def policy_version(self) -> int:
        """Say which version of policy the database holds; 0: none was ever set."""
        query = sa.select(POLICY_VERSIONS.c.version).where(POLICY_VERSIONS.c.site == self._site)
        with self._read() as connection:
            return connection.execute(query).scalar() or 0

    def save_policies(self, policies: Policies) -> None:
        """Replace all policy of the site by the next version, all or nothing.

        Raises:
            PolicyConflictError: The database holds this version or a later one.
            TransientError: The database did not take it; nothing was written.
        """
        rows = [
            {
                "site": self._site,
                "device": scope.device or "",
                "model": scope.model or "",
                "selector": scope.selector,
                "change": rule.change.model_dump_json(exclude_none=True),
                "version": rule.version,
            }
            for scope, rule in policies.rules.items()
        ]
        statement = self._insert(POLICY_VERSIONS)
        upsert = statement.on_conflict_do_update(
            index_elements=["site"],
            set_={"version": statement.excluded.version},
            where=POLICY_VERSIONS.c.version < statement.excluded.version,
        ).returning(POLICY_VERSIONS.c.version)
        with self._write() as connection:
            version = {"site": self._site, "version": policies.version}
            if connection.execute(upsert, [version]).scalar() is None:
                raise PolicyConflictError("policy was changed by somebody else: look again")
            connection.execute(sa.delete(RULES).where(RULES.c.site == self._site))
            if rows:
                connection.execute(sa.insert(RULES), rows)

    def beat(self, replica: str, *, expire_s: float) -> Sequence[str]:
        """Say that a replica is alive.

        Returns:
            All replicas that said so within ``expire_s`` by the database's clock, sorted.
            Older ones are deleted.
        """
        now_s = sa.func.extract("epoch", sa.func.clock_timestamp())
        statement = self._insert(REPLICAS).values(
            site=self._site, replica=replica, seen_s=now_s
        )
        upsert = statement.on_conflict_do_update(
            index_elements=["site", "replica"], set_={"seen_s": statement.excluded.seen_s}
        )
        ours = REPLICAS.c.site == self._site
        with self._write() as connection:
            connection.execute(upsert)
            connection.execute(
                sa.delete(REPLICAS).where(ours, REPLICAS.c.seen_s < now_s - expire_s)
            )
            found = connection.execute(sa.select(REPLICAS.c.replica).where(ours))
            return sorted(found.scalars().all())

    def leave(self, replica: str) -> None:
        """Say that a replica ends, so that others take over at once."""
        with self._write() as connection:
            connection.execute(
                sa.delete(REPLICAS).where(
                    REPLICAS.c.site == self._site, REPLICAS.c.replica == replica
                )
            )

    def _load(self, which: sa.ColumnElement[bool]) -> Iterator[DeviceState]:
        with self._read() as connection:
            rows = connection.execute(sa.select(DEVICES).where(which)).mappings().all()
        return (to_state(dict(row)) for row in rows)

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise _unavailable(error) from error

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise _unavailable(error) from error


def sqlite_url(path: Path) -> str:
    """Name a SQLite database by its file."""
    return f"sqlite:///{path}"


def _unavailable(error: Exception) -> TransientError:
    return TransientError(f"the database does not answer: {str(error).splitlines()[0]}")


def _by_device(row: Mapping[str, Any]) -> str:
    device: str = row["device"]
    return device


def make_engine(url: str) -> sa.Engine:
    """Prepare connections to a database; none is made yet.

    Raises:
        InputError: The address is none of a database that we know.
    """
    try:
        parsed = sa.make_url(url)
        driver = DRIVERS[parsed.get_backend_name()]
    except (sa.exc.ArgumentError, KeyError) as error:
        msg = f"{url!r} is no database: write sqlite:///path or postgresql://user@host/name"
        raise InputError(msg) from error
    if parsed.get_backend_name() == "sqlite":
        return _make_sqlite(parsed.set(drivername=driver))
    try:
        # A connection that a restart of the database has cut is found out before its use.
        return sa.create_engine(parsed.set(drivername=driver), pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise InputError("PostgreSQL needs: pip install 'secateur[postgresql]'") from error


def _make_sqlite(url: sa.URL) -> sa.Engine:
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {path.parent}: {error.strerror}") from error
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_S})

    def prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
        connection.execute("PRAGMA journal_mode=WAL")
        # A decision is on the medium before it is sent, also if power goes.
        connection.execute("PRAGMA synchronous=FULL")

    sa.event.listen(engine, "connect", prepare)
    return engine
