"""Run by Alembic; migrate.py hands it the connection, in a transaction of its own."""

from alembic import context

from occo_celery.uds import tables

context.configure(
    connection=context.config.attributes["connection"], target_metadata=tables.metadata, render_as_batch=True
)
context.run_migrations()
