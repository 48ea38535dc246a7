"""Owns C11: the statement without a name, which the next one replaces, and what comes often without one.

Leaves statements with names to ``test_c_prepared``.
"""

from __future__ import annotations

from typing import Any

from harness import pgwire as p
from harness.pgwire import asked, code_of, kinds, row


def run(client: p.Client, name: str, *values: bytes | None) -> list[p.Message]:
    return asked(client, p.bind(name, values), p.execute())


def test_c11_the_unnamed_statement_is_replaced_by_the_next(single: Any) -> None:
    client = single.raw()
    asked(client, p.parse("SELECT 1"), p.parse("SELECT 2"))
    assert row(run(client, "")) == [b"2"]
    assert kinds(asked(client, p.close(""))) == "3Z"
    assert code_of(run(client, "")) == "26000"
    asked(client, p.parse("SELECT 3"))
    client.ask("SELECT 4")
    # A simple query destroys it.
    assert code_of(run(client, "")) == "26000"


def test_c11_a_failed_unnamed_parse_leaves_none(single: Any) -> None:
    client = single.raw()
    asked(client, p.parse("SELECT 1"))
    assert code_of(asked(client, p.parse("SELEC"))) == "42601"
    assert code_of(run(client, "")) == "26000"


def told(client: p.Client, sql: str, *values: bytes | None) -> list[p.Message]:
    """As drivers ask that prepare nothing."""
    return asked(client, p.parse(sql), p.bind("", values), p.describe(kind=b"P"), p.execute())


def test_c11_a_text_that_comes_often_is_prepared_once(single: Any) -> None:
    client = single.raw()
    sql = "SELECT $1::int + 1 AS c11often"
    for number in range(10):
        answer = told(client, sql, str(number).encode())
        assert kinds(answer) == "12TDCZ"
        assert row(answer) == [str(number + 1).encode()]
    # Another client of that server finds it there.
    assert row(told(single.raw(), sql, b"41")) == [b"42"]
    bound = "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE statement LIKE '%c11often'"
    if hasattr(single, "pid"):
        assert row(client.ask(bound)) == [b"7"]


def test_c11_the_shape_of_a_text_that_comes_often_is_that_of_now(single: Any) -> None:
    client, admin = single.raw(), single.raw()
    client.ask("CREATE TABLE c11often AS SELECT 1 AS a")
    sql = "SELECT * FROM c11often WHERE $1::int = 0"
    for _ in range(6):
        assert row(told(client, sql, b"0")) == [b"1"]
    # The pool does not see what a block of code does.
    admin.ask("DO $$ BEGIN ALTER TABLE c11often ADD b text DEFAULT 'new'; END $$")
    assert row(told(client, sql, b"0")) == [b"1", b"new"]
    admin.ask("DROP TABLE c11often")
    assert code_of(told(client, sql, b"0")) == "42P01"


def test_c11_a_text_that_tells_the_time_is_read_each_time(single: Any) -> None:
    client = single.raw()
    sql = "SELECT 'now'::timestamptz::text, $1::int"
    assert len({row(told(client, sql, b"1"))[0] for _ in range(8)}) == 8


def test_c1_who_names_a_text_that_tells_the_time_gets_no_others_reading(single: Any) -> None:
    sql = "SELECT 'now'::timestamptz::text"
    readings = []
    for _ in range(3):
        client = single.raw()
        asked(client, p.parse(sql, "s"))
        first = row(run(client, "s"))
        # One's own stays what it was, as on a connection of one's own.
        assert row(run(client, "s")) == first
        readings.append(first[0])
    assert len(set(readings)) == 3
