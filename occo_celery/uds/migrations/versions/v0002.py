"""Scaling requests, replacements, the breaker of an account, programs that say that they live."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "requests",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("infra_id", sa.String(length=64), nullable=False),
        sa.Column("node_name", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["infra_id"], ["infrastructures.infra_id"], name=op.f("fk_requests_infra_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
    )
    op.create_index(op.f("ix_requests_infra_id"), "requests", ["infra_id"])
    op.create_table(
        "programs",
        sa.Column("program_id", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("clock_offset", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("program_id", name=op.f("pk_programs")),
    )
    op.create_index(op.f("ix_programs_seen_at"), "programs", ["seen_at"])
    op.add_column("nodes", sa.Column("lost_at", sa.Double(), nullable=True))
    op.add_column("nodes", sa.Column("outdated", sa.String(length=32), nullable=True))
    op.create_index(op.f("ix_nodes_account"), "nodes", ["account"])
    op.add_column("nodes_archive", sa.Column("lost_at", sa.Double(), nullable=True))
    op.create_index("ix_nodes_archive_account_lost_at", "nodes_archive", ["account", "lost_at"])
    op.add_column("accounts", sa.Column("breaker_at", sa.Double(), nullable=True))
