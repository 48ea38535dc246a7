"""Owns B1 to B6 and B10 to B13: the flow of queries, simple and extended, with raw bytes.

Leaves COPY, large messages and back-pressure (B7 to B9) to ``test_b_streams``.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest
from harness import pgwire
from harness.operated import until
from harness.pgwire import code_of, kinds, status_of

PID = "SELECT pg_backend_pid()"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", "TDCZ"),
        ("", "IZ"),
        (";", "IZ"),
        ("  -- nothing\n", "IZ"),
        ("SELECT 1; SELECT 2", "TDCTDCZ"),
        ("SELECT 1;; SELECT 2;", "TDCTDCZ"),
        ("CREATE TABLE b1 (n int); INSERT INTO b1 VALUES (1)", "CCZ"),
        ("SELECT 1; SELECT 1/0; SELECT 2", "TDCEZ"),
        ("SELEC 1", "EZ"),
    ],
)
def test_b1_zero_one_or_many_statements_in_one_message(
    single: Any, sql: str, expected: str
) -> None:
    client = single.raw()
    answer = client.ask(sql)
    assert kinds(answer) == expected
    assert status_of(answer) == "I"
    assert single.raw().value("SELECT 7") == "7"


def test_b1_a_batch_is_one_transaction(single: Any) -> None:
    client = single.raw()
    client.ask("CREATE TABLE b1 (n int)")
    assert code_of(client.ask("INSERT INTO b1 VALUES (1); SELECT 1/0")) == "22012"
    assert client.value("SELECT count(*) FROM b1") == "0"
    client.ask("INSERT INTO b1 VALUES (1); COMMIT; INSERT INTO b1 VALUES (2); ROLLBACK")
    assert client.value("SELECT count(*) FROM b1") in ("1", "2")


@pytest.mark.pooled
def test_b1_the_server_is_given_back_only_outside_a_transaction(single: Any) -> None:
    holder, other = single.raw(), single.raw()
    assert status_of(holder.ask("BEGIN; SELECT 1")) == "T"
    other.send(pgwire.query("SELECT 2"))
    assert other.is_silent()
    assert holder.value("SELECT 3") == "3"
    assert other.is_silent()
    assert status_of(holder.ask("COMMIT")) == "I"
    assert kinds(other.until("Z")) == "TDCZ"


def test_b1_a_message_may_come_byte_by_byte(single: Any) -> None:
    client = single.raw()
    client.trickle(pgwire.query("SELECT 'slow'"))
    assert kinds(client.until("Z")) == "TDCZ"
    client.trickle(pgwire.extended("SELECT $1::text", b"slow"), pgwire.sync())
    assert kinds(client.until("Z")) == "12TDCZ"


def test_b2_extended_messages_in_every_legal_mix(single: Any) -> None:
    p = pgwire
    rows = [
        (p.extended("SELECT 1") + p.sync(), "12TDCZ"),
        (p.parse("SELECT $1::int") + p.describe() + p.sync(), "1tTZ"),
        (p.parse("SELECT 1") + p.flush() + p.bind() + p.execute() + p.sync(), "12DCZ"),
        (p.parse("") + p.bind() + p.describe(kind=b"P") + p.execute() + p.sync(), "12nIZ"),
        (p.parse("SELECT 1") + p.bind() + p.close(kind=b"P") + p.sync(), "123Z"),
        (p.close("nothing") + p.close("nothing", b"P") + p.sync(), "33Z"),
        (p.sync(), "Z"),
        (p.extended("SELECT 1") + p.extended("SELECT 2") + p.sync(), "12TDC12TDCZ"),
        (p.bind(portal="p") + p.execute(portal="p") + p.execute(portal="p") + p.sync(), "2DCCZ"),
        (p.parse("SELECT 1/0") + p.bind() + p.execute() + p.execute() + p.sync(), "1EZ"),
        (p.parse("SELECT") + p.bind() + p.describe(kind=b"P") + p.execute() + p.sync(), "12TDCZ"),
        (p.query("SELECT 5") + p.sync(), "TDCZ"),
    ]
    client, other = single.raw(), single.raw()
    for sent, expected in rows:
        client.send(sent)
        want = expected.count("Z") + (sent.endswith(p.sync()) and b"SELECT 5" in sent)
        got = [one for _ in range(want) for one in client.until("Z")]
        # After the simple query, the lone Sync has an answer of its own.
        assert kinds(got) == (expected + "Z" if b"SELECT 5" in sent else expected), sent
        assert other.value("SELECT 1") == "1"
        if b"SELECT 1" in sent:
            # The other client has used the server: the unnamed statement is this client's again.
            client.send(p.parse("SELECT 1") + p.sync())
            assert kinds(client.until("Z")) == "1Z"


def test_b2_an_unnamed_statement_outlives_its_sync(single: Any) -> None:
    """The manual: it lasts until the next Parse of the unnamed one, whoever comes between."""
    client, other = single.raw(), single.raw()
    client.send(pgwire.parse("SELECT 'mine'") + pgwire.sync())
    assert kinds(client.until("Z")) == "1Z"
    other.send(pgwire.extended("SELECT 'theirs'") + pgwire.sync())
    other.until("Z")
    client.send(pgwire.bind() + pgwire.execute() + pgwire.sync())
    answer = client.until("Z")
    rows = [one.values for one in answer if one.kind == "D"]
    assert rows == [[b"mine"]], answer


def test_b3_many_syncs_in_flight(single: Any) -> None:
    client, other = single.raw(), single.raw()
    parts = [pgwire.extended(f"SELECT {n}") + pgwire.sync() for n in range(300)]
    client.send(*parts)
    other.send(*parts)
    for one in (client, other):
        answers = [one.until("Z") for _ in parts]
        values = [m.values[0] for answer in answers for m in answer if m.kind == "D"]
        assert values == [str(n).encode() for n in range(300)]


def test_b3_an_error_skips_to_its_own_sync_only(single: Any) -> None:
    client = single.raw()
    good, bad = pgwire.extended("SELECT 1"), pgwire.extended("SELECT 1/0")
    s = pgwire.sync()
    client.send(good, s, bad, good, good, s, s, good, s, pgwire.parse("SELEC"), good, s)
    assert [kinds(client.until("Z")) for _ in range(5)] == ["12TDCZ", "1EZ", "Z", "12TDCZ", "EZ"]
    assert client.value("SELECT 1") == "1"


def test_b3_flush_without_sync_delivers_and_holds_the_server(single: Any) -> None:
    client, other = single.raw(), single.raw()
    client.send(pgwire.extended("SELECT 'early'"), pgwire.flush())
    assert client.until("C")[-2].values == [b"early"]
    if hasattr(single, "pid"):
        other.send(pgwire.query("SELECT 2"))
        assert other.is_silent()
    client.send(pgwire.sync())
    assert kinds(client.until("Z")) == "Z"
    if hasattr(single, "pid"):
        assert kinds(other.until("Z")) == "TDCZ"


def test_b3_a_simple_query_ends_a_segment_without_sync(single: Any) -> None:
    """What asyncpg does before COPY: Parse, Describe, Flush, and then a simple query."""
    client, other = single.raw(), single.raw()
    client.send(pgwire.parse("SELECT 1", "s"), pgwire.describe("s"), pgwire.flush())
    client.until("T")
    assert kinds(client.ask("SELECT 2")) == "TDCZ"
    assert other.value("SELECT 3") == "3"
    client.send(pgwire.bind("s"), pgwire.execute(), pgwire.sync())
    assert kinds(client.until("Z")) == "2DCZ"


def test_b3_simple_queries_may_be_pipelined_too(single: Any) -> None:
    client = single.raw()
    client.send(*[pgwire.query(f"SELECT {n}") for n in range(50)], pgwire.query("SELECT 1/0"))
    got = [client.until("Z") for _ in range(51)]
    assert [answer[1].values[0] for answer in got[:50]] == [b"%d" % n for n in range(50)]
    assert code_of(got[50]) == "22012"


def test_b4_a_portal_with_a_row_limit_goes_on_in_its_transaction(single: Any) -> None:
    client, p = single.raw(), pgwire
    client.ask("BEGIN")
    client.send(p.parse("SELECT generate_series(1, 5)"), p.bind(portal="c"), p.sync())
    assert kinds(client.until("Z")) == "12Z"
    for expected in ("DDsZ", "DDsZ", "DCZ"):
        client.send(p.execute(2, portal="c"), p.sync())
        assert kinds(client.until("Z")) == expected
    client.ask("COMMIT")
    client.send(p.execute(2, portal="c"), p.sync())
    assert code_of(client.until("Z")) == "34000"


def test_b4_a_suspended_portal_without_a_transaction_dies_at_sync(single: Any) -> None:
    client, p = single.raw(), pgwire
    client.send(p.parse("SELECT generate_series(1, 5)"), p.bind(), p.execute(2), p.execute(2))
    client.send(p.sync())
    assert kinds(client.until("Z")) == "12DDsDDsZ"
    client.send(p.execute(2), p.sync())
    assert code_of(client.until("Z")) == "34000"


def test_b5_describe_of_a_declared_cursor_reaches_its_server(pooler: Any) -> None:
    client, other = pooler.raw(), pooler.raw()
    client.ask("BEGIN")
    client.ask("DECLARE mine CURSOR FOR SELECT 1 AS one")
    other.ask("SELECT 1")
    client.send(pgwire.describe("mine", b"P"), pgwire.sync())
    answer = client.until("Z")
    assert kinds(answer) == "TZ"
    assert b"one\0" in answer[0].body
    assert kinds(client.ask("FETCH ALL FROM mine")) == "TDCZ"
    client.ask("COMMIT")


def test_b6_a_function_call_is_answered(single: Any) -> None:
    client = single.raw()
    plus = int(client.value("SELECT 'pg_catalog.int4pl(int4,int4)'::regprocedure::oid") or 0)
    client.send(pgwire.function_call(plus, b"40", b"2"))
    answer = client.until("Z")
    assert kinds(answer) == "VZ"
    assert answer[0].body == struct.pack("!i", 2) + b"42"
    client.send(pgwire.function_call(1, b"abc"))
    assert kinds(client.until("Z")) == "EZ"
    assert single.raw().value("SELECT 1") == "1"


def test_b10_a_notice_may_come_within_a_query(single: Any) -> None:
    client = single.raw()
    answer = client.ask("DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$")
    assert [one.text for one in answer if one.kind == "N"] == ["one", "two"]


@pytest.mark.pooled
def test_b10_a_notice_and_a_parameter_between_transactions_do_no_harm(start: Any) -> None:
    """What an idle server says: its configuration was read again, for instance."""
    idle: list[pgwire.Fake] = []

    def script(fake: pgwire.Fake) -> None:
        fake.welcome()

        def answer(asked: pgwire.Message) -> bytes:
            if b"pg_settings" in asked.body:
                # The pooler's question about the parameter: nobody has set it for the session.
                return pgwire.command_complete("SELECT 0") + pgwire.ready()
            if asked.kind == "Q":
                idle.append(fake)
                return pgwire.one_row(b"1")
            return pgwire.ready() if asked.kind == "S" else b""

        fake.serve(answer)

    with pgwire.FakeServer(script) as fake:
        way = start(connections=1, url=fake.url(), dbname="fake")
        client = way.raw()
        assert client.value("SELECT 1") == "1"
        note = pgwire.error("00000", "a word", "NOTICE", b"N")
        idle[-1].send(note + pgwire.parameter_status("TimeZone", "Europe/Rome"))
        for _ in range(3):
            assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("name", ["TimeZone", "application_name"])
def test_b10_a_changed_parameter_is_reported_to_who_changed_it(single: Any, name: str) -> None:
    client, other = single.raw(), single.raw()
    value = "Asia/Tokyo"
    answer = client.ask(f"SET {name} = '{value}'")
    assert pgwire.parameter_status(name, value)[5:] in [m.body for m in answer if m.kind == "S"]
    assert value.encode() not in b"".join(m.body for m in other.ask("SELECT 1"))


def test_b11_an_aborted_transaction_stays_aborted_until_its_end(single: Any) -> None:
    client = single.raw()
    client.ask("BEGIN")
    assert status_of(client.ask("SELECT 1/0")) == "E"
    assert code_of(client.ask("SELECT 1")) == "25P02"
    assert status_of(client.ask("")) == "E"
    commit = client.ask("COMMIT")
    assert commit[0].tag == "ROLLBACK"
    assert status_of(commit) == "I"
    assert single.raw().value("SELECT 1") == "1"


def test_b12_chained_transactions_savepoints_and_two_phases(single: Any) -> None:
    client = single.raw()
    rows = [
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "T"),
        ("COMMIT AND CHAIN", "T"),
        ("ROLLBACK AND CHAIN", "T"),
        ("SAVEPOINT a", "T"),
        ("SELECT 1/0", "E"),
        ("ROLLBACK TO a", "T"),
        ("RELEASE a", "T"),
        ("SELECT 1/0", "E"),
        ("ROLLBACK AND CHAIN", "T"),
        ("SELECT 1", "T"),
        ("PREPARE TRANSACTION 'canter-b12'", "I"),
        ("COMMIT PREPARED 'canter-b12'", "I"),
        ("BEGIN", "T"),
        ("COMMIT; BEGIN", "T"),
        ("END", "I"),
    ]
    for sql, status in rows:
        assert status_of(client.ask(sql)) == status, sql
    assert client.ask("SHOW transaction_isolation")[1].values == [b"read committed"]


def test_b12_a_chained_transaction_keeps_its_level(single: Any) -> None:
    client, other = single.raw(), single.raw()
    client.ask("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY")
    client.ask("COMMIT AND CHAIN")
    assert client.value("SHOW transaction_isolation") == "serializable"
    client.ask("COMMIT")
    assert other.value("SHOW transaction_isolation") == "read committed"


@pytest.fixture(params=[(), ("--db-defer-begin",)], ids=["at_once", "deferred"])
def begins(start: Any, request: Any) -> Any:
    """A pooler with one connection, with either way to begin a transaction."""
    return start(*request.param, connections=1)


def test_b13_begin_and_its_end_are_answered_as_postgresql_does(begins: Any) -> None:
    client = begins.raw()

    def tags(sql: str) -> list[str]:
        return [one.tag for one in client.ask(sql) if one.kind == "C"]

    def warnings(sql: str) -> list[str]:
        return [one.code for one in client.ask(sql) if one.kind == "N"]

    assert tags("BEGIN") == ["BEGIN"]
    assert warnings("BEGIN") == ["25001"]
    assert tags("COMMIT") == ["COMMIT"]
    assert warnings("COMMIT") == ["25P01"]
    assert warnings("ROLLBACK") == ["25P01"]
    assert tags("START TRANSACTION") == ["START TRANSACTION"]
    assert tags("ROLLBACK") == ["ROLLBACK"]
    assert code_of(client.ask("BEGIN ISOLATION LEVEL NONSENSE")) == "42601"
    assert status_of(client.ask("SELECT 1")) == "I"
    assert code_of(client.ask("BEGIN nonsense")) == "42601"


def test_b13_options_of_begin_hold_for_the_transaction(begins: Any) -> None:
    client = begins.raw()
    for sql in (
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "START TRANSACTION READ ONLY ISOLATION LEVEL REPEATABLE READ",
        "BEGIN /* here */ TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY DEFERRABLE;",
    ):
        client.ask(sql)
        assert client.value("SHOW transaction_isolation") == "repeatable read"
        assert client.value("SHOW transaction_read_only") == "on"
        assert code_of(client.ask("CREATE TABLE b13 (n int)")) == "25006"
        client.ask("ROLLBACK")
    assert client.value("SHOW transaction_read_only") == "off"


def test_b13_begin_of_the_extended_protocol(begins: Any) -> None:
    client, other = begins.raw(), begins.raw()
    client.send(pgwire.extended("BEGIN"), pgwire.sync())
    assert status_of(client.until("Z")) == "T"
    client.send(pgwire.extended(PID), pgwire.sync())
    first = client.until("Z")
    assert status_of(first) == "T"
    assert client.value(PID) == next(m for m in first if m.kind == "D").values[0].decode()
    client.send(pgwire.extended("COMMIT"), pgwire.sync())
    assert status_of(client.until("Z")) == "I"
    assert other.value("SELECT 1") == "1"


@pytest.mark.pooled
def test_b13_a_transaction_begins_with_its_first_statement(start: Any) -> None:
    way = start("--db-defer-begin", connections=1)
    client, other = way.raw(), way.raw()
    assert status_of(client.ask("BEGIN")) == "T"
    assert other.value("SELECT 1") == "1"
    assert client.value("SELECT 1") == "1"
    other.send(pgwire.query("SELECT 2"))
    assert other.is_silent(0.1)
    assert status_of(client.ask("COMMIT")) == "I"
    assert kinds(other.until("Z")) == "TDCZ"


@pytest.mark.pooled
def test_b13_a_transaction_that_has_begun_keeps_one_server(pooler: Any) -> None:
    clients = [pooler.raw() for _ in range(2)]
    for client in clients:
        client.ask("BEGIN")
    pids = [{client.value(PID) for _ in range(5)} for client in clients]
    assert len(pids[0]) == len(pids[1]) == 1
    assert pids[0] != pids[1]
    for client in clients:
        client.ask("COMMIT")
    until(lambda: pooler.states() == ["idle", "idle"], what="both to be idle")
