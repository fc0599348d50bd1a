"""Conditions on a set of identifiers, by which PostgreSQL finds rows by their key however large a table is.

In one parameter (``among``, ``numbered``), the statement is the same however many they are.

SQLAlchemy's own ``in_`` writes a parameter for each into the statement, so that it is written, parsed and planned
anew for each number of them. Used by the statements of every pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import functions


class _Identifiers(sa.types.UserDefinedType[Collection[str]]):
    """An array where there are arrays, else JSON.

    Written out here: psycopg takes ten times as long for an array, which made a tenth of a pass by itself.
    """

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: Any) -> str:
        return "TEXT[]"

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Collection[str] | None], str]:
        return _array if dialect.name == "postgresql" else _json


def _array(identifiers: Collection[str] | None) -> str:
    """As PostgreSQL reads an array, each member in quotes."""
    if not identifiers:
        return "{}"
    return '{"' + '","'.join([one.replace("\\", "\\\\").replace('"', '\\"') for one in identifiers]) + '"}'


def _json(identifiers: Collection[str] | None) -> str:
    return json.dumps(list(identifiers or ()))


class _Among(functions.FunctionElement[bool]):
    """column, parameter"""

    type = sa.Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> _Among:
        """As it is. Where there are no booleans, SQLAlchemy would write ``(...) = 1``, and no index would be used."""
        return self


def among(column: sa.ColumnElement[str], name: str) -> sa.ColumnElement[bool]:
    """True for rows whose column is one of the identifiers that the parameter of that name holds."""
    return _Among(column, sa.bindparam(name, type_=_Identifiers()))


class _Chosen(_Among):
    """column, query"""

    inherit_cache = True


def chosen(column: sa.ColumnElement[str], query: sa.Select[tuple[str]]) -> sa.ColumnElement[bool]:
    """True for rows whose column is one of the identifiers that a query finds, which are few.

    As ``in_``, for which PostgreSQL would read the whole table, since it cannot know how few they are.
    """
    return _Chosen(column, query.scalar_subquery())


@compiles(_Chosen, "postgresql")
def _chosen_postgresql(element: _Chosen, compiler: Any, **options: Any) -> str:
    column, query = (compiler.process(one, **options) for one in element.clauses)
    return f"({column} = ANY(ARRAY{query}))"


@compiles(_Chosen, "sqlite")
def _chosen_sqlite(element: _Chosen, compiler: Any, **options: Any) -> str:
    column, query = (compiler.process(one, **options) for one in element.clauses)
    return f"({column} IN {query})"


@compiles(_Among, "postgresql")
def _postgresql(element: _Among, compiler: Any, **options: Any) -> str:
    """In a query of its own, which PostgreSQL does not look into when it plans: it would see how few there are this
    time, find that plan better than one for any number, and plan anew each time, a third of its work in a pass."""
    column, identifiers = (compiler.process(one, **options) for one in element.clauses)
    return f"({column} = ANY((SELECT {identifiers})::TEXT[]))"


@compiles(_Among, "sqlite")
def _sqlite(element: _Among, compiler: Any, **options: Any) -> str:
    column, identifiers = (compiler.process(one, **options) for one in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({identifiers})))"  # noqa: S608  # names and parameters


class _Numbers(sa.types.UserDefinedType[Mapping[str, int]]):
    """A number for each identifier, as JSON."""

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSON"

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Mapping[str, int] | None], str]:
        return json.dumps


class _Numbered(functions.FunctionElement[Any]):
    """parameter"""

    inherit_cache = True


def numbered(name: str) -> sa.TableValuedAlias:
    """The table of what the parameter of that name holds, a number for each identifier; its columns are ``key`` and
    ``value`` (as text)."""
    parameter = sa.bindparam(name, type_=_Numbers())
    found = _Numbered(parameter).table_valued(sa.column("key", sa.Text()), sa.column("value", sa.Text()))
    return found.alias(name)


@compiles(_Numbered, "postgresql")
def _numbered_postgresql(element: _Numbered, compiler: Any, **options: Any) -> str:
    return f"json_each_text({compiler.process(element.clauses, **options)})"


@compiles(_Numbered, "sqlite")
def _numbered_sqlite(element: _Numbered, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"
