"""The migrations, in Alembic's form; env.py is its entry."""
