"""The database's tables, and how a database of any age gets to have them."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import secateur_server.migrations

METADATA = sa.MetaData()

DEVICES = sa.Table(
    "devices",
    METADATA,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), primary_key=True),
    *(
        sa.Column(name, sa.Text, nullable=True)
        for name in ("presence", "info", "telemetry", "reported", "desired", "experiences")
    ),
    # Of ``desired``: no write may take it back.
    sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
)

RULES = sa.Table(
    "rules",
    METADATA,
    sa.Column("site", sa.String(64), primary_key=True),
    # An empty name stands for every one: NULL is no key.
    sa.Column("device", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("selector", sa.String(2048), primary_key=True),
    sa.Column("change", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

POLICY_VERSIONS = sa.Table(
    "policy_versions",
    METADATA,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
)

REPLICAS = sa.Table(
    "replicas",
    METADATA,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("replica", sa.String(64), primary_key=True),
    # The database's own clock, seconds since 1970: replicas' clocks may differ.
    sa.Column("seen_s", sa.Float, nullable=False),
)

ROLLOUTS = sa.Table(
    "rollouts",
    METADATA,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("rollout", sa.String(64), primary_key=True),
    sa.Column("record", sa.Text, nullable=False),
)

ROLLOUT_DEVICES = sa.Table(
    "rollout_devices",
    METADATA,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("rollout", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), primary_key=True),
    sa.Column("member", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
)

STABLE_VERSIONS = sa.Table(
    "stable_versions",
    METADATA,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("version", sa.String(64), nullable=False),
)

ROLLOUT_VERSIONS = sa.Table(
    "rollout_versions",
    METADATA,
    sa.Column("site", sa.String(64), primary_key=True),
    # Of all rollouts of the site together: who writes from an older one has been overtaken.
    sa.Column("version", sa.BigInteger, nullable=False),
)

FIRST = "0001"

MIGRATION_LOCK = 5_236_001
"""PostgreSQL's advisory lock under which one replica migrates and the others wait."""


def migrate(engine: sa.Engine) -> None:
    """Bring a database to the present schema, all or nothing; a new one gets all of it.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: It cannot be reached or is no database of ours.
    """
    config = Config()
    folder = Path(secateur_server.migrations.__file__).parent
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        config.attributes["connection"] = connection
        tables = sa.inspect(connection).get_table_names()
        if "devices" in tables and "alembic_version" not in tables:
            command.stamp(config, FIRST)  # made before there were migrations
        command.upgrade(config, "head")
