"""Instructions and teardowns: ``celery -A workers.instructions worker -Q instructions -P threads -c 16 -E``;
`occo worker instructions` does the same."""

from __future__ import annotations

from occo_celery.tasks import entry

app = entry.make_worker_app()
