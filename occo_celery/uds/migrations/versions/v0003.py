"""Accounts are remembered from their first use on, and swept at intervals."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("accounts", sa.Column("implementation", JSON, nullable=True))
    op.add_column("accounts", sa.Column("sweep_due", sa.Double(), nullable=True))
    op.add_column("accounts", sa.Column("suspects", JSON, nullable=True))
    _remember_those_in_use()


def _remember_those_in_use() -> None:
    """Every account that has, or had, instances; the first sweep of each is due at once."""
    connection = op.get_bind()
    accounts = sa.table(
        "accounts",
        sa.column("account", sa.Text),
        sa.column("misses", sa.Integer),
        sa.column("implementation", JSON),
        sa.column("sweep_due", sa.Double),
    )
    there = set(connection.execute(sa.select(accounts.c.account)).scalars())
    for name in ("nodes_archive", "nodes"):
        table = sa.table(name, sa.column("account", sa.Text), sa.column("implementation", JSON))
        used = sa.and_(table.c.account.is_not(None), table.c.implementation.is_not(None))
        for account in connection.execute(sa.select(table.c.account).where(used).distinct()).scalars().all():
            one = sa.select(table.c.implementation).where(used, table.c.account == account).limit(1)
            values = {"implementation": connection.execute(one).scalar_one(), "sweep_due": 0.0}
            if account in there:
                connection.execute(accounts.update().where(accounts.c.account == account).values(**values))
            else:
                connection.execute(accounts.insert().values(account=account, misses=0, **values))
                there.add(account)
