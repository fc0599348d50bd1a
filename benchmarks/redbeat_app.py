"""RedBeat as dispatch.py uses it: a Celery app with entries that are due at once and every ten seconds.

``python -m benchmarks.redbeat_app COUNT`` makes the entries; ``celery -A benchmarks.redbeat_app beat`` sends them.
"""

from __future__ import annotations

import os
import sys

import celery
from celery.schedules import schedule

app = celery.Celery("peer", broker=os.environ["BROKER_URL"])
app.conf.update(redbeat_redis_url=os.environ["BROKER_URL"], task_ignore_result=True, redbeat_lock_key=None)

if __name__ == "__main__":
    from redbeat import RedBeatSchedulerEntry

    for number in range(int(sys.argv[1])):
        entry = RedBeatSchedulerEntry(
            f"entry-{number}", "nothing", schedule(10.0, app=app), options={"queue": "peer"}, app=app
        )
        entry.due_at  # noqa: B018  # computed when first asked for
        entry.last_run_at = entry.last_run_at.replace(year=2000)
        entry.save()
