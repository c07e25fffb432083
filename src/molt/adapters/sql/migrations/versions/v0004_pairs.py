"""Pairs of answers from shadow, actions of control, and what was seen before."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "pairs",
        sa.Column("rollout", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("subject", sa.Text),
        sa.Column("trace", sa.Text, nullable=False),
        sa.Column("due", sa.Boolean, nullable=False),
        sa.Column("kinds", sa.Text),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("pairs_due", "pairs", ["rollout", "due", "at"])
    op.create_index("pairs_by_trace", "pairs", ["rollout", "trace"])
    op.create_index("pairs_by_subject", "pairs", ["rollout", "subject", "at"])
    op.create_table(
        "actions",
        sa.Column("rollout", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("tool", sa.Text, nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("trace", sa.Text),
        sa.Column("subject", sa.Text),
    )
    op.create_index("actions_by_trace", "actions", ["rollout", "trace"])
    op.create_index("actions_by_subject", "actions", ["rollout", "subject", "at"])
    op.create_table(
        "sightings",
        sa.Column("rollout", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
