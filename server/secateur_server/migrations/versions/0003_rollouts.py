"""Rollouts, their devices, and which version of each model is the stable one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables; what was there stays as it is."""
    op.create_table(
        "rollouts",
        sa.Column("site", sa.String(64), primary_key=True),
        sa.Column("rollout", sa.String(64), primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "rollout_devices",
        sa.Column("site", sa.String(64), primary_key=True),
        sa.Column("rollout", sa.String(64), primary_key=True),
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("member", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
    )
    op.create_table(
        "stable_versions",
        sa.Column("site", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), nullable=False),
    )
    op.create_table(
        "rollout_versions",
        sa.Column("site", sa.String(64), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
