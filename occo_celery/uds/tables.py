"""The tables, as SQLAlchemy Core. A change here needs a migration; `occo db check` compares the two."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

#: Read and written whole; what is searched or compared is a column of its own.
Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
#: Seconds since the epoch, UTC: one kind of time from the clock to the column, the same on every engine.
Time = sa.Double
Id = sa.String(64)
Word = sa.String(32)

#: Rows that passes write: PostgreSQL puts the new version beside the old one, without touching indexes, where a
#: page has room and no column with an index changes.
ROOM: dict[str, Any] = {"postgresql_with": {"fillfactor": 50}}

infrastructures = sa.Table(
    "infrastructures",
    metadata,
    sa.Column("infra_id", Id, primary_key=True),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("user_id", sa.Text),
    sa.Column("phase", Word, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("suspended", sa.Boolean, nullable=False, default=False),
    sa.Column("targets", Json, nullable=False),  # node name -> count, where it is not the node's min
    sa.Column("created_at", Time, nullable=False),
    sa.Column("bootstrapped_at", Time),
    sa.Column("ready_since", Time),
    # Raised by attach and by detach: an intent of another epoch is not begun any more.
    sa.Column("attach_epoch", sa.Integer, nullable=False, default=0),
    # Raised by whoever wants a pass now; a pass that sees it grown is followed by another, a glance by a closer look.
    sa.Column("wake", sa.BigInteger, nullable=False, default=0),
    sa.Column("pass_token", Id),
    sa.Column("lease_until", Time),
    **ROOM,
)

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("infra_id", Id, sa.ForeignKey("infrastructures.infra_id"), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("description", Json, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("created_by", sa.Text),
)

node_definitions = sa.Table(
    "node_definitions",
    metadata,
    sa.Column("type", sa.String(255), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("implementation", Json, nullable=False),
    sa.Column("imported_at", Time, nullable=False),
)

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("node_id", Id, primary_key=True),
    sa.Column("infra_id", Id, sa.ForeignKey("infrastructures.infra_id"), nullable=False, index=True),
    sa.Column("node_name", sa.String(63), nullable=False),
    sa.Column("lifecycle", Word, nullable=False),
    sa.Column("status", Word, nullable=False),
    sa.Column("reason_code", sa.String(64), nullable=False),
    sa.Column("reason_arguments", Json, nullable=False),
    sa.Column("reason_since", Time, nullable=False),
    sa.Column("version", sa.Integer, nullable=False, default=1),
    sa.Column("account", sa.Text),
    sa.Column("instance_id", sa.Text),
    sa.Column("addresses", Json, nullable=False),
    sa.Column("implementation", Json),
    sa.Column("implementation_hash", sa.String(32)),
    sa.Column("position", sa.Integer),
    sa.Column("inputs", Json),
    sa.Column("context_hash", sa.String(64)),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("called_at", Time),
    sa.Column("ready_at", Time),
    sa.Column("failing_since", Time),
    sa.Column("missing_since", Time),
    # First seen to be lost for good; the breaker counts the losses of an account.
    sa.Column("lost_at", Time),
    # To be replaced, and how: "rolling" (when its replacement is ready) or "recreate" (first it, then the new one).
    sa.Column("outdated", Word),
    sa.Index("ix_nodes_account_lost_at", "account", "lost_at"),
)

nodes_archive = sa.Table(
    "nodes_archive",
    metadata,
    sa.Column("node_id", Id, primary_key=True),
    sa.Column("infra_id", Id, nullable=False, index=True),
    sa.Column("node_name", sa.String(63), nullable=False),
    sa.Column("account", sa.Text),
    sa.Column("instance_id", sa.Text),
    sa.Column("addresses", Json, nullable=False),
    sa.Column("implementation", Json),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("archived_at", Time, nullable=False),
    sa.Column("lost_at", Time),
    sa.Column("why", sa.Text, nullable=False),
    sa.Index("ix_nodes_archive_account_lost_at", "account", "lost_at"),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("target", sa.String(255), primary_key=True),
    sa.Column("infra_id", Id, sa.ForeignKey("infrastructures.infra_id"), nullable=False, index=True),
    sa.Column("kind", Word, nullable=False),
    sa.Column("node_name", sa.String(63), nullable=False),  # for people: task names, messages
    sa.Column("attach_epoch", sa.Integer, nullable=False),
    sa.Column("token", Id),
    sa.Column("lease_until", Time),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("retry_at", Time),
    sa.Column("due", Time, index=True),
    sa.Column("begun", sa.Boolean, nullable=False, default=False),
    sa.Column("doubt_until", Time, nullable=False, default=0.0),
    sa.Column("absent_since", Time),
    sa.Column("stage", sa.Integer, nullable=False, default=0),
    sa.Column("tried", Json, nullable=False),
    sa.Column("reason_code", sa.String(64)),
    sa.Column("reason_arguments", Json),
    sa.Column("reason_since", Time),
    sa.Column("detail", Json, nullable=False),
)

# Scaling requests: deleted by id in the transaction that changes the target.
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("infra_id", Id, sa.ForeignKey("infrastructures.infra_id"), nullable=False, index=True),
    sa.Column("node_name", sa.String(63), nullable=False),
    sa.Column("kind", Word, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("node_id", Id),  # of scale_down: the instance that is to go
    sa.Column("created_at", Time, nullable=False),
)

schedule = sa.Table(
    "schedule",
    metadata,
    sa.Column("infra_id", Id, sa.ForeignKey("infrastructures.infra_id"), primary_key=True),
    sa.Column("attach_epoch", sa.Integer, nullable=False),
    sa.Column("interval", sa.Double, nullable=False),
    sa.Column("longest", sa.Double, nullable=False),  # the interval may grow so far; equal to it: it does not grow
    sa.Column(
        "pace", sa.Double, nullable=False
    ),  # if the next pass finds all steady, the one after is due so much later
    sa.Column("phase", sa.Double, nullable=False, index=True),  # its place within the longest interval, see phases.py
    sa.Column("strategy", Word, nullable=False),
    sa.Column("next_due", Time, nullable=False, index=True),
    sa.Column("claim_token", Id),
    sa.Column("started", Time, nullable=False),
    sa.Column("last_pass", Time),
    sa.Column("last_duration", sa.Double, nullable=False, default=0.0),
    sa.Column("passes", sa.BigInteger, nullable=False, default=0),
    sa.Column("last_error", sa.Text),
    **ROOM,
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("misses", sa.Integer, nullable=False, default=0),
    sa.Column("silent_until", Time),
    sa.Column("reason", sa.Text),
    # When so many of its instances failed at once that healing waits for a second look.
    sa.Column("breaker_at", Time),
    # Of some instance that was to be made there: what leads to the account. Kept from its first use on.
    sa.Column("implementation", Json),
    sa.Column("sweep_due", Time),
    # Instances that a sweep saw and nobody knows: target of an operation that drops it -> when it was first seen.
    sa.Column("suspects", Json),
    # Of its budget: calls are spent until then (see model/budget.py).
    sa.Column("spent_until", Time),
)

# Worker programs and beats: each says now and then that it lives. Nothing but `occo doctor` reads it.
programs = sa.Table(
    "programs",
    metadata,
    sa.Column("program_id", sa.String(255), primary_key=True),  # kind@host:pid
    sa.Column("kind", Word, nullable=False),  # passes, instructions, beat
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("started_at", Time, nullable=False),
    sa.Column("seen_at", Time, nullable=False, index=True),
    sa.Column("clock_offset", sa.Double, nullable=False),  # the database's clock minus the host's, seconds
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("infra_id", Id, nullable=False),
    sa.Column("time", Time, nullable=False),
    sa.Column("name", Word, nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Index("ix_events_infra_id_id", "infra_id", "id"),
)
