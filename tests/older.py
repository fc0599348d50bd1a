"""Databases of earlier versions: what each migration did, undone. For the tests of migrations."""

from __future__ import annotations

import sqlalchemy as sa

UNDONE = {
    "0008": ("ALTER TABLE accounts DROP COLUMN spent_until",),
    "0007": ("ALTER TABLE nodes DROP COLUMN implementation_hash",),
    "0006": ("DROP INDEX ix_nodes_account_lost_at", "CREATE INDEX ix_nodes_account ON nodes (account)"),
    "0005": (
        "DROP INDEX ix_schedule_phase",
        "ALTER TABLE schedule DROP COLUMN longest",
        "ALTER TABLE schedule DROP COLUMN pace",
    ),
}


def go_back(connection: sa.Connection, version: str) -> None:
    """Make the tables of the newest version those of an earlier one, as far back as it is written down here."""
    for later in sorted(UNDONE, reverse=True):
        if later > version:
            for statement in UNDONE[later]:
                connection.execute(sa.text(statement))
    connection.execute(sa.text("UPDATE alembic_version SET version_num = :version"), {"version": version})
