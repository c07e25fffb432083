"""What runs did through the egress."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table of calls."""
    op.create_table(
        "calls",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("rollout", sa.Text),
        sa.Column("run", sa.Text),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("calls_by_run", "calls", ["run", "at"])
    op.create_index("calls_by_rollout", "calls", ["rollout", "at"])
    op.create_index("calls_by_time", "calls", ["at"])
