"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("misses", sa.Integer(), nullable=False),
        sa.Column("silent_until", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_accounts")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("infra_id", sa.String(length=64), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index("ix_events_infra_id_id", ["infra_id", "id"], unique=False)

    op.create_table(
        "infrastructures",
        sa.Column("infra_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("phase", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("targets", JSON, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("bootstrapped_at", sa.Double(), nullable=True),
        sa.Column("ready_since", sa.Double(), nullable=True),
        sa.Column("attach_epoch", sa.Integer(), nullable=False),
        sa.Column("wake", sa.BigInteger(), nullable=False),
        sa.Column("pass_token", sa.String(length=64), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("infra_id", name=op.f("pk_infrastructures")),
    )
    with op.batch_alter_table("infrastructures", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_infrastructures_pass_token"), ["pass_token"], unique=False)

    op.create_table(
        "node_definitions",
        sa.Column("type", sa.String(length=255), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("implementation", JSON, nullable=False),
        sa.Column("imported_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("type", "position", name=op.f("pk_node_definitions")),
    )
    op.create_table(
        "nodes_archive",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("infra_id", sa.String(length=64), nullable=False),
        sa.Column("node_name", sa.String(length=63), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("instance_id", sa.Text(), nullable=True),
        sa.Column("addresses", JSON, nullable=False),
        sa.Column("implementation", JSON, nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("archived_at", sa.Double(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_nodes_archive")),
    )
    with op.batch_alter_table("nodes_archive", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_nodes_archive_infra_id"), ["infra_id"], unique=False)

    op.create_table(
        "nodes",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("infra_id", sa.String(length=64), nullable=False),
        sa.Column("node_name", sa.String(length=63), nullable=False),
        sa.Column("lifecycle", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("reason_code", sa.String(length=64), nullable=False),
        sa.Column("reason_arguments", JSON, nullable=False),
        sa.Column("reason_since", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("instance_id", sa.Text(), nullable=True),
        sa.Column("addresses", JSON, nullable=False),
        sa.Column("implementation", JSON, nullable=True),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("inputs", JSON, nullable=True),
        sa.Column("context_hash", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("called_at", sa.Double(), nullable=True),
        sa.Column("ready_at", sa.Double(), nullable=True),
        sa.Column("failing_since", sa.Double(), nullable=True),
        sa.Column("missing_since", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["infra_id"], ["infrastructures.infra_id"], name=op.f("fk_nodes_infra_id")),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_nodes")),
    )
    with op.batch_alter_table("nodes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_nodes_infra_id"), ["infra_id"], unique=False)

    op.create_table(
        "operations",
        sa.Column("target", sa.String(length=255), nullable=False),
        sa.Column("infra_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("node_name", sa.String(length=63), nullable=False),
        sa.Column("attach_epoch", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.Double(), nullable=True),
        sa.Column("due", sa.Double(), nullable=True),
        sa.Column("begun", sa.Boolean(), nullable=False),
        sa.Column("doubt_until", sa.Double(), nullable=False),
        sa.Column("absent_since", sa.Double(), nullable=True),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("tried", JSON, nullable=False),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("reason_arguments", JSON, nullable=True),
        sa.Column("reason_since", sa.Double(), nullable=True),
        sa.Column("detail", JSON, nullable=False),
        sa.ForeignKeyConstraint(["infra_id"], ["infrastructures.infra_id"], name=op.f("fk_operations_infra_id")),
        sa.PrimaryKeyConstraint("target", name=op.f("pk_operations")),
    )
    with op.batch_alter_table("operations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_operations_due"), ["due"], unique=False)
        batch_op.create_index(batch_op.f("ix_operations_infra_id"), ["infra_id"], unique=False)

    op.create_table(
        "revisions",
        sa.Column("infra_id", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("description", JSON, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["infra_id"], ["infrastructures.infra_id"], name=op.f("fk_revisions_infra_id")),
        sa.PrimaryKeyConstraint("infra_id", "generation", name=op.f("pk_revisions")),
    )
    op.create_table(
        "schedule",
        sa.Column("infra_id", sa.String(length=64), nullable=False),
        sa.Column("attach_epoch", sa.Integer(), nullable=False),
        sa.Column("interval", sa.Double(), nullable=False),
        sa.Column("phase", sa.Double(), nullable=False),
        sa.Column("strategy", sa.String(length=32), nullable=False),
        sa.Column("next_due", sa.Double(), nullable=False),
        sa.Column("claim_token", sa.String(length=64), nullable=True),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("last_pass", sa.Double(), nullable=True),
        sa.Column("last_duration", sa.Double(), nullable=False),
        sa.Column("passes", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["infra_id"], ["infrastructures.infra_id"], name=op.f("fk_schedule_infra_id")),
        sa.PrimaryKeyConstraint("infra_id", name=op.f("pk_schedule")),
    )
    with op.batch_alter_table("schedule", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_schedule_next_due"), ["next_due"], unique=False)
