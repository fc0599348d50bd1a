"""The Celery tasks, two lines each, and beat's scheduler: the outermost shell. Entry: entry.py."""
