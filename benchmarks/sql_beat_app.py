"""sqlalchemy-celery-beat as dispatch.py uses it: entries in the same PostgreSQL, due at once and every ten seconds.

``python -m benchmarks.sql_beat_app COUNT`` makes them anew; ``celery -A benchmarks.sql_beat_app beat`` sends them.
"""

from __future__ import annotations

import datetime
import os
import sys

import celery

app = celery.Celery("peer", broker=os.environ["BROKER_URL"])
app.conf.update(beat_dburi=os.environ["DATABASE_URL"], task_ignore_result=True, result_expires=None)

if __name__ == "__main__":
    import sqlalchemy as sa
    from sqlalchemy_celery_beat import models, session

    manager = session.SessionManager()
    engine, make_session = manager.create_session(os.environ["DATABASE_URL"])
    manager.prepare_models(engine)
    with make_session() as entries:
        entries.execute(sa.delete(models.PeriodicTask))
        every = models.IntervalSchedule(every=10, period=models.Period.SECONDS)
        entries.add(every)
        entries.flush()
        long_ago = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
        names = (f"entry-{number}" for number in range(int(sys.argv[1])))
        entries.execute(
            sa.insert(models.PeriodicTask),
            [
                {
                    "name": name,
                    "task": "nothing",
                    "queue": "peer",
                    "discriminator": every.discriminator,
                    "schedule_id": every.id,
                    "last_run_at": long_ago,
                }
                for name in names
            ],
        )
        entries.commit()
