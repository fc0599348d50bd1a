"""Beat: ``celery -A workers.beat beat -S occo_celery.tasks.scheduler:UdsScheduler``; `occo beat` does the same.

Flower watches through this app too: ``celery -A workers.beat flower``.
"""

from __future__ import annotations

from occo_celery.tasks import entry

app = entry.make_worker_app()
