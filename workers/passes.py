"""Passes: ``celery -A workers.passes worker -Q passes -c 4 -E``; `occo worker passes` does the same."""

from __future__ import annotations

from occo_celery.tasks import entry

app = entry.make_worker_app()
