"""An infrastructure's interval may grow while it is steady; phases can be counted."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for name in ("longest", "pace"):
        op.add_column("schedule", sa.Column(name, sa.Double(), nullable=True))
    op.execute("UPDATE schedule SET longest = interval, pace = interval")
    with op.batch_alter_table("schedule") as schedule:
        for name in ("longest", "pace"):
            schedule.alter_column(name, existing_type=sa.Double(), nullable=False)
    op.create_index("ix_schedule_phase", "schedule", ["phase"])
