"""Instances that were made from the same implementation are told apart from others without reading it."""

import sqlalchemy as sa
from alembic import op

from occo_celery.uds import rows

revision = "0007"
down_revision = "0006"

_NODES = sa.table("nodes", sa.column("implementation"), sa.column("implementation_hash"))
_TEXT = sa.cast(_NODES.c.implementation, sa.Text)


def upgrade() -> None:
    op.add_column("nodes", sa.Column("implementation_hash", sa.String(32)))
    connection = op.get_bind()
    for text in connection.execute(sa.select(_TEXT).distinct().where(_TEXT.is_not(None))).scalars().all():
        connection.execute(_NODES.update().where(_TEXT.in_([text])).values(implementation_hash=rows.hash_of(text)))
