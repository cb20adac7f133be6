"""What the coordinator must not lose: devices as last known, and policy. SQLite by default."""

from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from secateur_protocols.codec import M, decode_document
from secateur_protocols.control import PolicyChange
from secateur_protocols.info import Info
from secateur_protocols.message import Message
from secateur_protocols.presence import Presence
from secateur_protocols.state import Desired, Reported
from secateur_protocols.telemetry import Telemetry
from secateur_server.core.fleet import DeviceState
from secateur_server.core.policy import Policies
from secateur_server.errors import ServerError

_METADATA = sa.MetaData()
_DEVICES = sa.Table(
    "devices",
    _METADATA,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), primary_key=True),
    *(
        sa.Column(name, sa.Text, nullable=True)
        for name in ("presence", "info", "telemetry", "reported", "desired")
    ),
)
_POLICIES = sa.Table(
    "policies",
    _METADATA,
    sa.Column("site", sa.String(64), primary_key=True),
    # An empty name stands for every one: NULL is no key.
    sa.Column("device", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("change", sa.Text, nullable=False),
)


class Store:
    """One site's rows in one database."""

    def __init__(self, path: Path, site: str) -> None:
        """Open the database, making it if it is not there.

        Raises:
            ServerError: It cannot be opened or is no database of ours.
        """
        self._site = site
        self._engine = sa.create_engine(f"sqlite:///{path}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._engine.begin() as connection:
                connection.execute(sa.text("PRAGMA journal_mode=WAL"))
            _METADATA.create_all(self._engine)
        except (sa.exc.DatabaseError, OSError) as error:
            raise ServerError(f"cannot open the database {path}") from error

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def load_devices(self) -> dict[str, DeviceState]:
        """Read every device of the site."""
        query = sa.select(_DEVICES).where(_DEVICES.c.site == self._site)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return {row["device"]: _to_state(row) for row in rows}

    def save_devices(self, states: Iterable[DeviceState]) -> None:
        """Write a batch, all or nothing."""
        rows = [{"site": self._site, **_to_row(state)} for state in states]
        if not rows:
            return
        statement = insert(_DEVICES)
        values = {
            column.name: statement.excluded[column.name]
            for column in _DEVICES.columns
            if not column.primary_key
        }
        with self._engine.begin() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["site", "device"], set_=values),
                rows,
            )

    def forget_device(self, device: str) -> None:
        """Delete a device's row."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.delete(_DEVICES).where(
                    _DEVICES.c.site == self._site, _DEVICES.c.device == device
                )
            )

    def load_policies(self) -> Policies:
        """Read all policy of the site."""
        query = sa.select(_POLICIES).where(_POLICIES.c.site == self._site)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return {
            (row["device"] or None, row["model"] or None): decode_document(
                PolicyChange, row["change"].encode()
            )
            for row in rows
        }

    def save_policies(self, policies: Policies) -> None:
        """Replace all policy of the site, all or nothing."""
        rows = [
            {
                "site": self._site,
                "device": device or "",
                "model": model or "",
                "change": change.model_dump_json(exclude_none=True),
            }
            for (device, model), change in policies.items()
        ]
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_POLICIES).where(_POLICIES.c.site == self._site))
            if rows:
                connection.execute(sa.insert(_POLICIES), rows)


def _to_row(state: DeviceState) -> dict[str, str | None]:
    return {
        "device": state.device,
        "presence": _dump(state.presence),
        "info": _dump(state.info),
        "telemetry": _dump(state.telemetry),
        "reported": _dump(state.reported),
        "desired": _dump(state.desired),
    }


def _to_state(row: sa.RowMapping) -> DeviceState:
    return DeviceState(
        device=row["device"],
        presence=_parse(Presence, row["presence"]),
        info=_parse(Info, row["info"]),
        telemetry=_parse(Telemetry, row["telemetry"]),
        reported=_parse(Reported, row["reported"]),
        desired=_parse(Desired, row["desired"]),
    )


def _dump(message: Message | None) -> str | None:
    return None if message is None else message.model_dump_json(exclude_none=True)


def _parse(kind: type[M], text: str | None) -> M | None:
    return None if text is None else decode_document(kind, text.encode())
