"""Signs of life of worker programs and beats. Written by tasks/signs.py; nothing but `occo doctor` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from occo_celery.uds import tables

_P = tables.programs

#: Seconds after which a program that never said goodbye is taken off the books.
FORGOTTEN = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program. kind: passes, instructions (the queue that it works off) or beat. clock_offset: the database's
    clock minus its host's, seconds."""

    program_id: str
    kind: str
    host: str
    started_at: float
    seen_at: float
    clock_offset: float


def alive(connection: sa.Connection, program: Program) -> None:
    """A program says that it lives; those that have not done so for long are forgotten."""
    values = {name: getattr(program, name) for name in Program.__slots__}
    connection.execute(_P.delete().where(_P.c.seen_at < program.seen_at - FORGOTTEN))
    if connection.execute(_P.update().where(_P.c.program_id == program.program_id).values(**values)).rowcount == 0:
        connection.execute(_P.insert().values(**values))


def ended(connection: sa.Connection, program_id: str) -> None:
    """A program has come to an orderly end."""
    connection.execute(_P.delete().where(_P.c.program_id == program_id))


def known(connection: sa.Connection) -> Sequence[Program]:
    """All that said so lately, those seen last first."""
    found = connection.execute(sa.select(_P).order_by(_P.c.seen_at.desc(), _P.c.program_id))
    return [Program(**row) for row in found.mappings()]
