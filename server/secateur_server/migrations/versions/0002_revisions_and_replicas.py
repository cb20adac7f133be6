"""What is desired by revision, rules by selector and version, and who coordinates."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what more than one coordinator needs; keep every device and every rule."""
    op.add_column("devices", sa.Column("experiences", sa.Text, nullable=True))
    op.add_column(
        "devices", sa.Column("revision", sa.BigInteger, nullable=False, server_default="0")
    )
    _fill_in_revisions()
    _move_policies()
    op.create_table(
        "replicas",
        sa.Column("site", sa.String(64), primary_key=True),
        sa.Column("replica", sa.String(64), primary_key=True),
        sa.Column("seen_s", sa.Float, nullable=False),
    )


def _fill_in_revisions() -> None:
    devices = sa.table(
        "devices", *(sa.column(name) for name in ("site", "device", "desired", "revision"))
    )
    connection = op.get_bind()
    for site, device, desired in connection.execute(
        sa.select(devices.c.site, devices.c.device, devices.c.desired).where(
            devices.c.desired.is_not(None)
        )
    ).all():
        connection.execute(
            sa.update(devices)
            .where(devices.c.site == site, devices.c.device == device)
            .values(revision=json.loads(desired)["revision"])
        )


def _move_policies() -> None:
    rules = op.create_table(
        "rules",
        sa.Column("site", sa.String(64), primary_key=True),
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("selector", sa.String(2048), primary_key=True),
        sa.Column("change", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    versions = op.create_table(
        "policy_versions",
        sa.Column("site", sa.String(64), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    connection = op.get_bind()
    policies = sa.table(
        "policies", *(sa.column(name) for name in ("site", "device", "model", "change"))
    )
    rows = connection.execute(sa.select(policies)).mappings().all()
    for row in rows:
        connection.execute(sa.insert(rules).values(**row, selector="", version=1))
    for site in sorted({row["site"] for row in rows}):
        connection.execute(sa.insert(versions).values(site=site, version=1))
    op.drop_table("policies")
