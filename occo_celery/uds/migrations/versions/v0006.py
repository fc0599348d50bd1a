"""The lost instances of an account are found without looking at all of its instances."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.drop_index("ix_nodes_account", "nodes")
    op.create_index("ix_nodes_account_lost_at", "nodes", ["account", "lost_at"])
