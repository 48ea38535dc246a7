"""Owns what programs use: psycopg 3 in all its ways, psycopg2 and asyncpg, as their users would.

Leaves Django to ``test_django_pool`` and psycopg's own test suite to ``tests/pooler/suites``.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import psycopg
import psycopg2
import psycopg2.extras
import pytest
from harness.operated import until
from psycopg.rows import dict_row

NUMBERS = "SELECT generate_series(1, %s)"


def test_psycopg_transactions_and_savepoints(single: Any) -> None:
    with single.connect(autocommit=False) as connection, single.connect() as other:
        connection.execute("CREATE TABLE t (n int)")
        connection.commit()
        with connection.transaction():
            connection.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
                connection.execute("INSERT INTO t VALUES (2)")
                connection.execute("SELECT 1/0")
            connection.execute("INSERT INTO t VALUES (3)")
        connection.commit()
        assert other.execute("SELECT n FROM t ORDER BY n").fetchall() == [(1,), (3,)]


def test_psycopg_two_phases(single: Any) -> None:
    with single.connect(autocommit=False) as connection:
        connection.execute("CREATE TABLE t (n int)")
        connection.commit()
        xid = connection.xid(1, uuid.uuid4().hex, "branch")
        connection.tpc_begin(xid)
        connection.execute("INSERT INTO t VALUES (1)")
        connection.tpc_prepare()
        connection.tpc_commit()
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_psycopg_pipeline(pooler: Any) -> None:
    with pooler.connect(autocommit=False) as connection, pooler.connect() as other:
        connection.execute("CREATE TABLE t (n int)")
        connection.commit()
        with connection.pipeline() as pipeline:
            connection.cursor().executemany("INSERT INTO t VALUES (%s)", [(n,) for n in range(500)])
            cursors = [connection.execute("SELECT %s::int", [n]) for n in range(100)]
            pipeline.sync()
            assert [cursor.fetchone() for cursor in cursors] == [(n,) for n in range(100)]
        connection.commit()
        assert other.execute("SELECT count(*) FROM t").fetchone() == (500,)
        with pytest.raises(psycopg.errors.DivisionByZero), connection.pipeline():
            connection.execute("SELECT 1/%s", [0])
            connection.execute("SELECT 1")
        connection.rollback()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_psycopg_named_cursors(pooler: Any) -> None:
    with pooler.connect(autocommit=False) as connection, pooler.connect() as other:
        with connection.cursor("inside") as cursor:
            cursor.execute(NUMBERS, [50])
            cursor.itersize = 7
            assert [n for (n,) in cursor] == list(range(1, 51))
        connection.commit()
        with connection.cursor("held", withhold=True, scrollable=True) as cursor:
            cursor.execute(NUMBERS, [50])
            connection.commit()
            assert cursor.fetchmany(3) == [(1,), (2,), (3,)]
            other.execute("SELECT 1")
            connection.commit()
            cursor.scroll(10)
            assert cursor.fetchone() == (14,)
        connection.commit()


@pytest.mark.parametrize("binary", [True, False])
def test_psycopg_binary_and_text(single: Any, binary: bool) -> None:
    with single.connect(row_factory=dict_row) as connection:
        row = connection.execute(
            "SELECT %s::int AS a, %s::bytea AS b, %s::uuid AS c, %s::float8[] AS d",
            [1, b"\0\xff", uuid.UUID(int=5), [1.5, None]],
            binary=binary,
        ).fetchone()
        assert row == {"a": 1, "b": b"\0\xff", "c": uuid.UUID(int=5), "d": [1.5, None]}


def test_psycopg_client_side_binding(single: Any) -> None:
    with psycopg.connect(cursor_factory=psycopg.ClientCursor, **single.words()) as connection:
        row = connection.execute("SELECT %s, %s", ["it's \\ %", 5]).fetchone()
        assert row == ("it's \\ %", 5)


def test_psycopg_cancel_and_timeouts(single: Any) -> None:
    with single.connect() as connection:
        # Long enough for the RESET, which is under it as well.
        connection.execute("SET statement_timeout = 500")
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")
        connection.execute("RESET statement_timeout")
        import threading

        def cancel() -> None:
            single.running("pg_sleep")
            connection.cancel_safe()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")
        canceller.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_psycopg_notifies(pooler: Any) -> None:
    with pooler.connect() as listener, pooler.connect() as sender:
        listener.execute("LISTEN news")
        sender.execute("SELECT pg_notify('news', %s)", ["one"])
        sender.execute("NOTIFY news, 'two'")
        found = [note.payload for note in listener.notifies(timeout=10, stop_after=2)]
        assert found == ["one", "two"]


def test_psycopg_notices_and_parameters(single: Any) -> None:
    with single.connect() as connection:
        heard: list[str | None] = []
        connection.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        connection.execute("DO $$BEGIN RAISE NOTICE 'here'; END$$")
        assert heard == ["here"]
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        assert connection.info.timezone.key == "Asia/Tokyo"
        assert connection.info.server_version // 10000 >= 14
        assert connection.info.encoding == "utf-8"


def test_psycopg_stream_and_chunks(single: Any) -> None:
    with single.connect() as connection:
        rows = connection.cursor().stream(NUMBERS, [1000])
        assert sum(n for (n,) in rows) == 500_500
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_psycopg_async(pooler: Any) -> None:
    async def one(n: int) -> int:
        connection = await psycopg.AsyncConnection.connect(
            **pooler.words(), autocommit=True, prepare_threshold=0
        )
        async with connection:
            total = 0
            for m in range(20):
                row = await (await connection.execute("SELECT %s::int", [n * m])).fetchone()
                total += row[0]
            async with connection.pipeline():
                cursors = [await connection.execute("SELECT %s::int", [m]) for m in range(20)]
            for cursor in cursors:
                total += (await cursor.fetchone())[0]
            return total

    async def all_() -> list[int]:
        return await asyncio.gather(*[one(n) for n in range(10)])

    assert asyncio.run(all_()) == [n * 190 + 190 for n in range(10)]


def test_psycopg2(single: Any) -> None:
    first = psycopg2.connect(**single.words())
    second = psycopg2.connect(**single.words())
    second.autocommit = True
    cursor = first.cursor()
    cursor.execute("CREATE TABLE t (n int)")
    psycopg2.extras.execute_values(cursor, "INSERT INTO t VALUES %s", [(n,) for n in range(300)])
    first.commit()
    with second.cursor() as other:
        other.execute("SELECT count(*) FROM t")
        assert other.fetchone() == (300,)
    first.set_session(isolation_level="SERIALIZABLE", readonly=True)
    cursor.execute("SHOW transaction_isolation")
    assert cursor.fetchone() == ("serializable",)
    first.rollback()
    with second.cursor() as other:
        other.execute("SHOW transaction_isolation")
        assert other.fetchone() == ("read committed",)
    named = first.cursor("named")
    named.execute("SELECT generate_series(1, 5000)")
    assert sum(n for (n,) in named) == 12_502_500
    first.rollback()
    first.set_client_encoding("LATIN1")
    with first.cursor() as cursor:
        cursor.execute("SELECT 'é'")
        assert cursor.fetchone() == ("é",)
    first.close()
    second.close()


def test_asyncpg(pooler: Any) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    words = {key: value for key, value in pooler.words().items() if key != "connect_timeout"}
    words["database"] = words.pop("dbname")

    async def work() -> None:
        connections = [await asyncpg.connect(**words) for _ in range(4)]
        for connection in connections:
            await connection.execute("CREATE TABLE IF NOT EXISTS t (n int, t text)")
        for n, connection in enumerate(connections):
            statement = await connection.prepare("SELECT $1::int + $2::int")
            assert await statement.fetchval(n, 1) == n + 1
            async with connection.transaction():
                await connection.executemany(
                    "INSERT INTO t VALUES ($1, $2)", [(n, str(m)) for m in range(50)]
                )
                found = [row["n"] async for row in connection.cursor("SELECT n FROM t", prefetch=9)]
                assert len(found) == 50 * (n + 1)
            assert await connection.fetchval("SELECT count(*) FROM t") == 50 * (n + 1)
            await connection.copy_records_to_table("t", records=[])
        for connection in connections:
            # It resets with several statements in one message.
            await connection.reset()
            assert await connection.fetchval("SELECT 5") == 5
            await connection.close()

    asyncio.run(work())


def test_a_pool_of_psycopg_connections_over_ours(single: Any) -> None:
    connections = [single.connect() for _ in range(40)]
    for _ in range(3):
        for n, connection in enumerate(connections):
            assert connection.execute("SELECT %s", [n]).fetchone() == (n,)
    if hasattr(single, "pid"):
        assert len(single.backends()) == 1
    for connection in connections:
        connection.close()
    until(lambda: all(state == "idle" for state in single.states()), what="idle servers")
