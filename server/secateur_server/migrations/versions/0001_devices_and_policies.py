"""Devices as last known, and what operators set."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "devices",
        sa.Column("site", sa.String(64), primary_key=True),
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("presence", sa.Text, nullable=True),
        sa.Column("info", sa.Text, nullable=True),
        sa.Column("telemetry", sa.Text, nullable=True),
        sa.Column("reported", sa.Text, nullable=True),
        sa.Column("desired", sa.Text, nullable=True),
    )
    op.create_table(
        "policies",
        sa.Column("site", sa.String(64), primary_key=True),
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("change", sa.Text, nullable=False),
    )
