"""The worker of the benchmarks: ours, with a task beside it that does nothing; ``celery -A benchmarks.worker``."""

from __future__ import annotations

from occo_celery.tasks import entry

NOTHING = "nothing"

app = entry.make_worker_app()


@app.task(name=NOTHING)
def nothing() -> None:
    """What the cheapest task costs."""
