"""Owns asking a database how it would run a statement, and reading its plan: without values, in a
transaction that only reads, is limited in time, and is rolled back.

Leaves which statement is meant to the front. What goes out is a plan without literals.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from canter import insight

TIMEOUT_MS = 2000
"""How long the database may take."""
BIG = 10_000
"""Rows from which on reading all of a table is worth an index."""
SELECTIVE = 10
"""An index helps where at most one row in so many is wanted."""
FIRST_WITH_GENERIC_PLANS = 160_000

CONDITIONS = ("Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter", "Filter")
EQUAL = re.compile(r'\(?"?(\w+)"?\)?(?:::\w+)? = (?:ANY \()?\(?[$?]')
PLACEHOLDER = re.compile(r'"[^"]*"|%%|%s')
MARK = re.compile(r'"[^"]*"|%|\?(?!\s*\?)')
"""The place of a value in a text without values: two of them never stand side by side, so that the first
is PostgreSQL's operator."""
QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`""")


def explain(question: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of the statement that the question names, and what helps."""
    if "django.conf" not in sys.modules:
        return {"error": "the database is asked with Django's connections, and this app is no Django"}
    from django.db import close_old_connections

    name, text = int(question["name"], 16), str(question["sql"])
    sql = insight.template(name) or as_template(text)
    if not is_one(sql):
        return {"error": "there are several statements in it: the plan is asked for one alone"}
    # No request of Django's is under way, so that nobody else does this.
    close_old_connections()
    try:
        return _analyze(name, sql) if question.get("analyze") else _generic(sql)
    finally:
        close_old_connections()


def is_one(sql: str) -> bool:
    """Whether it is one statement: what follows a semicolon would be run, not explained."""
    return ";" not in QUOTED.sub("", sql).strip().rstrip(";")


def _generic(sql: str) -> dict[str, Any]:
    from django.db import Error, connections

    wrong = "no database of the settings knows the statement"
    for alias in sorted(connections, key=lambda alias: alias != "default"):
        try:
            return _planned(connections[alias], sql, None)
        except LookupError as error:
            wrong = str(error)
        except Error as error:
            wrong = _why(error)
    return {"error": wrong}


def _why(error: Exception) -> str:
    """The database's own words, without what it quotes."""
    from canter import _worker

    return str(_worker.strip(str(error).partition("\n")[0], "")[2])[:300]


def _analyze(name: int, sql: str) -> dict[str, Any]:
    """Run it once more and measure: with the values of its next run in this process."""
    if not sql.lstrip(" (").upper().startswith("SELECT") or " FOR " in sql.upper():
        return {"error": "only a SELECT that locks nothing is run for its plan"}
    sample = insight.take_sample(name)
    if sample is None:
        insight.want_sample(name)
        return {
            "error": "run it once more, by asking for its page, and click again: values are not "
            "kept before somebody wants this"
        }
    template, params, alias = sample
    from django.db import Error, connections

    try:
        return _planned(connections[alias], template, params)
    except Error as error:
        return {"error": _why(error)}


def _planned(connection: Any, sql: str, params: Any) -> dict[str, Any]:
    if connection.vendor == "sqlite":
        return _of_sqlite(connection, sql, params)
    if connection.vendor == "postgresql":
        return _of_postgres(connection, sql, params)
    raise LookupError(f"plans are read of PostgreSQL and SQLite, not of {connection.vendor}")


# --- PostgreSQL


def _of_postgres(connection: Any, sql: str, params: Any) -> dict[str, Any]:
    with _reading(connection) as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute(f"SET LOCAL statement_timeout = {TIMEOUT_MS}")
        if params is not None:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
        elif connection.pg_version < FIRST_WITH_GENERIC_PLANS:
            raise LookupError("a plan without values needs PostgreSQL 16 or newer")
        else:
            cursor.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered(sql)}")
        plan = cursor.fetchone()[0]
        if isinstance(plan, str):
            plan = json.loads(plan)
        nodes = list(_nodes(plan[0]["Plan"], 0))
        hints = [hint for _depth, node in nodes if (hint := _hint(cursor, node))]
    how = "EXPLAIN (ANALYZE)" if params is not None else "EXPLAIN (GENERIC_PLAN)"
    return {"how": how, "plan": [line(depth, node) for depth, node in nodes], "hints": hints}


@contextlib.contextmanager
def _reading(connection: Any) -> Iterator[Any]:
    """A cursor in a transaction that is rolled back."""
    from django.db import transaction

    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            yield cursor
        transaction.set_rollback(True, using=connection.alias)


def as_template(text: str) -> str:
    """A text without values as Django would have it: with ``%s`` where values belong. Columns that were left out of a
    long list change nothing in how rows are found."""
    marks = {"%": "%%", "?": "%s"}
    text = re.sub(", …(?= from )", "", text, count=1, flags=re.IGNORECASE)
    return MARK.sub(lambda found: marks.get(found[0], found[0]), text)


def numbered(sql: str) -> str:
    """With ``$1``, ``$2`` in place of Django's ``%s``; ``?`` is an operator."""
    count = 0

    def put(found: re.Match[str]) -> str:
        nonlocal count
        if found[0] == "%%":
            return "%"
        if found[0] != "%s":
            return found[0]
        count += 1
        return f"${count}"

    return PLACEHOLDER.sub(put, sql)


def _nodes(node: Mapping[str, Any], depth: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield depth, node
    for child in node.get("Plans", ()):
        yield from _nodes(child, depth + 1)


def line(depth: int, node: Mapping[str, Any]) -> str:
    """A node of a plan in words."""
    from canter import _worker

    words = [str(node.get("Node Type", "?"))]
    if "Index Name" in node:
        words.append(f"using {node['Index Name']}")
    if "Relation Name" in node:
        words.append(f"on {node['Relation Name']}")
    facts = [f"rows {node.get('Plan Rows', 0)}, cost {node.get('Total Cost', 0):.0f}"]
    if "Actual Total Time" in node:
        loops = node.get("Actual Loops", 1)
        spent = node["Actual Total Time"] * loops
        facts.append(f"took {spent:.1f} ms for {node.get('Actual Rows', 0):.0f} rows, {loops} times")
    for key in CONDITIONS:
        if key in node:
            facts.append(f"{key.lower()} {_worker.strip(str(node[key]), 'postgresql')[2]}")
    return "  " * depth + " ".join(words) + " (" + "; ".join(facts) + ")"


def _hint(cursor: Any, node: Mapping[str, Any]) -> str | None:
    """An index, where a big table is read as a whole for few of its rows."""
    if node.get("Node Type") != "Seq Scan" or "Filter" not in node:
        return None
    table = str(node["Relation Name"])
    cursor.execute(
        "SELECT greatest(c.reltuples, coalesce(s.n_live_tup, 0)) FROM pg_class c "
        "LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid "
        "WHERE c.relname = %s AND c.relkind IN ('r', 'p') ORDER BY c.reltuples DESC LIMIT 1",
        [table],
    )
    row = cursor.fetchone()
    rows = int(row[0]) if row else 0
    column = EQUAL.search(str(node["Filter"]))
    if rows < BIG or column is None or node.get("Plan Rows", 0) * SELECTIVE > rows:
        return None
    return _index(table, column[1], rows)


def _index(table: str, column: str, rows: int) -> str:
    evidence = f"all of about {rows} rows of {table} are read for those with one {column}"
    from django.apps import apps

    for model in apps.get_models():
        if model._meta.db_table == table:
            for field in model._meta.local_fields:
                if field.column == column:
                    call = f'models.Index(fields=["{field.name}"])'
                    return f"{evidence}: put {call} into Meta.indexes of {model.__name__}"
    return f"{evidence}: CREATE INDEX ON {table} ({column})"


# --- SQLite


def _of_sqlite(connection: Any, sql: str, params: Any) -> dict[str, Any]:
    wanted = PLACEHOLDER.findall(sql).count("%s")
    values: Sequence[Any] = params if params is not None else [None] * wanted
    with connection.cursor() as cursor:
        # It compiles the statement and runs none of it.
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        rows = cursor.fetchall()
        depths = {0: -1}
        lines, hints = [], []
        for number, parent, _unused, detail in rows:
            depths[number] = depths.get(parent, -1) + 1
            lines.append("  " * depths[number] + str(detail))
            hint = _hint_of_sqlite(cursor, str(detail), sql)
            if hint:
                hints.append(hint)
    return {"how": "EXPLAIN QUERY PLAN", "plan": lines, "hints": hints}


def _hint_of_sqlite(cursor: Any, detail: str, sql: str) -> str | None:
    scanned = re.match(r"SCAN (?:TABLE )?\"?(\w+)\"?$", detail)
    if scanned is None:
        return None
    table = scanned[1]
    column = re.search(rf'"{table}"\."(\w+)" (?:= %s|IN \()', sql)
    if column is None:
        return None
    # One step in the table's tree, not a count.
    cursor.execute(f'SELECT max(rowid) FROM "{table}"')
    rows = cursor.fetchone()[0] or 0
    return _index(table, column[1], rows) if rows >= BIG else None
