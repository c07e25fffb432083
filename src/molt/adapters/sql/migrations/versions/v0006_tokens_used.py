"""When an API token was last used."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; tokens that are there have not been seen in use yet."""
    op.add_column("tokens", sa.Column("last_used_at", sa.BigInteger))
