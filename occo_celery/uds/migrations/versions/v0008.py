"""Cloud accounts have budgets: until when their calls are spent."""

import sqlalchemy as sa
from alembic import op

from occo_celery.uds.tables import Time

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("spent_until", Time))
