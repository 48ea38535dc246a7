"""Owns D8 to D14: state that lives in one server process, and the tie it makes.

Leaves settings, which are carried along, to ``test_d_state``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from harness import pgwire
from harness.operated import together, until
from harness.pgwire import code_of, kinds

PID = "SELECT pg_backend_pid()"


def free(single: Any) -> bool:
    """Whether another client gets the only server; asked until the answer is sure."""
    with single.raw() as probe:
        probe.send(pgwire.query("SELECT 1"))
        return not probe.is_silent(0.3)


TIES = [
    ("CREATE TEMP TABLE t AS SELECT 1 AS n", "SELECT n FROM t", "DROP TABLE t"),
    ("CREATE TEMPORARY TABLE t (n int DEFAULT 1); INSERT INTO t DEFAULT VALUES",
     "SELECT n FROM t", "DISCARD TEMP"),
    ("SELECT 1 AS n INTO TEMP t", "SELECT n FROM t", "DISCARD ALL"),
    ("CREATE TEMP VIEW t AS SELECT 1 AS n", "SELECT n FROM t", "DROP VIEW t"),
    ("CREATE TABLE pg_temp.t AS SELECT 1 AS n", "SELECT n FROM t", "DROP TABLE t"),
    ("CREATE FUNCTION pg_temp.t() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT pg_temp.t()",
     "DROP FUNCTION pg_temp.t()"),
    ("CREATE TYPE pg_temp.t AS ENUM ('1')", "SELECT '1'::pg_temp.t", "DROP TYPE pg_temp.t"),
    ("CREATE DOMAIN pg_temp.t AS int", "SELECT 1::pg_temp.t", "DISCARD TEMP"),
    ("CREATE TEMP SEQUENCE t", "SELECT 1 FROM t", "DROP SEQUENCE t"),
    ("DECLARE t CURSOR WITH HOLD FOR SELECT 1", "FETCH FIRST FROM t", "CLOSE t"),
    ("BEGIN; DECLARE t NO SCROLL CURSOR WITH HOLD FOR SELECT 1; COMMIT", "FETCH 1 FROM t",
     "CLOSE ALL"),
    ("SELECT pg_advisory_lock(1)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
     "SELECT pg_advisory_unlock(1)"),
    ("SELECT pg_try_advisory_lock(hashtext('a'))",
     "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
     "SELECT pg_advisory_unlock_all()"),
    ("PREPARE t AS SELECT 1", "EXECUTE t", "DEALLOCATE t"),
    ("LISTEN t", "SELECT count(*) FROM pg_listening_channels()", "UNLISTEN t"),
    ("LISTEN t", "SELECT count(*) FROM pg_listening_channels()", "UNLISTEN *"),
    ("DO $$BEGIN CREATE TEMP TABLE t AS SELECT 1 AS n; END$$", "SELECT n FROM t", "DROP TABLE t"),
]


@pytest.mark.parametrize(("tie", "uses", "end"), TIES)
def test_d8_to_d11_state_in_the_server_ties_until_it_is_gone(
    pooler: Any, tie: str, uses: str, end: str
) -> None:
    client, other = pooler.raw(), pooler.raw()
    assert code_of(client.ask(tie)) == ""
    pid = client.value(PID)
    for _ in range(3):
        other.ask("SELECT 1")
        assert client.value(uses) == "1"
        if "FETCH" in uses:
            assert client.ask("MOVE ABSOLUTE 0 FROM t") or True
            break
    assert client.value(PID) == pid
    assert code_of(client.ask(end)) == ""
    assert "1" != (first_value(client.ask(uses)) or "0")


def first_value(answer: list[pgwire.Message]) -> str | None:
    rows = [one.values[0] for one in answer if one.kind == "D"]
    return rows[0].decode() if rows and rows[0] is not None else None


@pytest.mark.pooled
@pytest.mark.parametrize(("tie", "uses", "end"), TIES)
def test_d8_to_d11_the_server_says_when_the_tie_is_gone(
    single: Any, tie: str, uses: str, end: str
) -> None:
    client = single.raw()
    client.ask(tie)
    assert not free(single), "not tied"
    client.ask(end)
    until(lambda: free(single), what="the server to be free again")


@pytest.mark.pooled
@pytest.mark.parametrize(
    ("tie", "closes"),
    [
        ("DECLARE t CURSOR WITH HOLD FOR SELECT 1", pgwire.close("t", b"P")),
        ("PREPARE t AS SELECT 1", pgwire.close("t")),
    ],
)
def test_d9_d14_a_close_of_the_protocol_ends_the_tie(
    single: Any, tie: str, closes: bytes
) -> None:
    client = single.raw()
    client.ask(tie)
    assert not free(single), "not tied"
    client.send(closes, pgwire.sync())
    assert kinds(client.until("Z")) == "3Z"
    until(lambda: free(single), what="the server to be free again")


@pytest.mark.pooled
@pytest.mark.parametrize(("tie", "uses", "end"), TIES)
def test_d8_to_d11_nothing_is_left_for_the_next_client(
    single: Any, tie: str, uses: str, end: str
) -> None:
    client = single.raw()
    client.ask(tie)
    client.send(pgwire.terminate())
    client.close()
    other = single.raw()
    assert first_value(other.ask(uses)) != "1"


@pytest.mark.pooled
@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN; CREATE TEMP TABLE t (n int); ROLLBACK",
        "BEGIN; CREATE TEMP TABLE t (n int) ON COMMIT DROP; COMMIT",
        "BEGIN; DECLARE t CURSOR FOR SELECT 1; COMMIT",
        "BEGIN; DECLARE t CURSOR WITH HOLD FOR SELECT 1; ROLLBACK",
        "SELECT pg_advisory_xact_lock(1)",
        "BEGIN; LISTEN t; ROLLBACK",
        "SELECT 'CREATE TEMP TABLE and pg_advisory_lock(1) and LISTEN'",
        "SELECT pg_advisory_lock(1); SELECT pg_advisory_unlock(1)",
        "NOTIFY t",
        "CREATE TABLE temp_ (temporary int); DROP TABLE temp_",
    ],
)
def test_d8_to_d11_what_leaves_nothing_ties_nothing(single: Any, sql: str) -> None:
    client = single.raw()
    client.ask(sql)
    until(lambda: free(single), what="the server to be free")


@pytest.mark.pooled
def test_d10_a_lock_that_was_not_got_ties_nothing_and_one_got_twice_does(pooler: Any) -> None:
    one, two = pooler.raw(), pooler.raw()
    assert one.value("SELECT pg_try_advisory_lock(5)") == "t"
    assert two.value("SELECT pg_try_advisory_lock(5)") == "f"
    until(lambda: free(pooler), what="the other server to be free")
    one.ask("SELECT pg_advisory_lock(5)")
    one.ask("SELECT pg_advisory_unlock(5)")
    assert two.value("SELECT pg_try_advisory_lock(5)") == "f"
    one.ask("SELECT pg_advisory_unlock(5)")
    assert two.value("SELECT pg_try_advisory_lock(5)") == "t"


def test_d10_a_lock_is_gone_with_its_client(pooler: Any) -> None:
    one, two = pooler.raw(), pooler.raw()
    one.ask("SELECT pg_advisory_lock(6)")
    one.close()
    until(lambda: two.value("SELECT pg_try_advisory_lock(6)") == "t", what="the lock")


def test_d9_a_cursor_with_hold_is_read_in_pieces_between_others(pooler: Any) -> None:
    client, others = pooler.raw(), [pooler.raw() for _ in range(2)]
    client.send(
        pgwire.extended("DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT generate_series(1, 10)"),
        pgwire.sync(),
    )
    assert code_of(client.until("Z")) == ""
    client.send(pgwire.describe("c", b"P"), pgwire.sync())
    assert kinds(client.until("Z")) == "TZ"
    seen: list[bytes | None] = []
    for _ in range(4):
        for other in others:
            other.ask("SELECT 1")
        seen += [one.values[0] for one in client.ask("FETCH FORWARD 3 FROM c") if one.kind == "D"]
    assert seen == [b"%d" % n for n in range(1, 11)]
    client.ask("CLOSE c")


def test_d11_a_notification_reaches_who_listens_and_only_them(pooler: Any) -> None:
    listener, other, sender = pooler.raw(), pooler.raw(), pooler.raw()
    listener.ask("LISTEN news")
    sender.ask("NOTIFY news, 'one'")
    note = listener.receive()
    assert (note.kind, note.body[4:]) == ("A", b"news\0one\0")
    assert all(one.kind != "A" for one in other.ask("SELECT 1"))
    listener.ask("UNLISTEN news")
    sender.ask("NOTIFY news, 'two'")
    assert all(one.kind != "A" for one in listener.ask("SELECT 1"))


def test_d11_listen_counts_from_commit(pooler: Any) -> None:
    listener, sender = pooler.raw(), pooler.raw()
    listener.ask("BEGIN; LISTEN news; ROLLBACK")
    sender.ask("NOTIFY news, 'lost'")
    assert all(one.kind != "A" for one in listener.ask("SELECT 1"))
    listener.ask("BEGIN; LISTEN news; COMMIT")
    sender.ask("NOTIFY news, 'got'")
    assert listener.receive().body[4:] == b"news\0got\0"


def test_d11_one_who_notifies_itself_hears_it(single: Any) -> None:
    client = single.raw()
    client.ask("LISTEN news")
    answer = client.ask("NOTIFY news, 'me'")
    if all(one.kind != "A" for one in answer):
        answer = [client.receive()]
    assert [one.body[4:] for one in answer if one.kind == "A"] == [b"news\0me\0"]


@pytest.mark.pooled
def test_d11_notifications_of_a_client_that_left_go_nowhere(single: Any) -> None:
    listener = single.raw()
    listener.ask("LISTEN news")
    listener.close()
    other = single.raw()
    other.ask("SELECT 1")
    with single.postgres.connect(dbname=single.dbname) as sender:
        sender.execute("NOTIFY news, 'for nobody'")
    assert all(one.kind != "A" for one in other.ask("SELECT 1"))
    assert other.value("SELECT count(*) FROM pg_listening_channels()") == "0"


def test_d12_currval_after_nextval(pooler: Any) -> None:
    client, other = pooler.raw(), pooler.raw()
    client.ask("CREATE SEQUENCE s")
    assert client.value("SELECT nextval('s')") == "1"
    for _ in range(3):
        assert other.value("SELECT nextval('s')") not in (None, "1")
        assert client.value("SELECT currval('s')") == "1"
        assert client.value("SELECT lastval()") == "1"


@pytest.mark.pooled
def test_d12_setseed_and_load_keep_their_server(pooler: Any) -> None:
    for sql in ("SELECT setseed(0.5)",):
        client = pooler.raw()
        client.ask(sql)
        pid = client.value(PID)
        other = pooler.raw()
        other.ask("SELECT 1")
        assert client.value(PID) == pid
        client.ask("DISCARD ALL")
        client.close()
        other.close()


@pytest.mark.pooled
def test_d12_words_of_a_very_long_text_keep_their_server(pooler: Any) -> None:
    client, other = pooler.raw(), pooler.raw()
    assert code_of(client.ask(f"SELECT '{'x' * (1 << 20)}'; SELECT setseed(0.5)")) == ""
    pid = client.value(PID)
    for _ in range(3):
        other.ask("SELECT 1")
        assert client.value(PID) == pid


@pytest.mark.pooled
def test_d13_a_pool_that_resets_always_leaves_nothing_in_the_process(start: Any) -> None:
    """State that no setting, no table and no lock shows: here, prepared statements."""
    way = start("--db-reset-always", connections=1)
    client, other = way.raw(TimeZone="Asia/Tokyo"), way.raw()
    left = "SELECT count(*) FROM pg_prepared_statements"
    for _ in range(2):
        client.send(pgwire.parse("SELECT 7", "s"), pgwire.bind("s"), pgwire.execute(), pgwire.sync())
        assert "E" not in kinds(client.until("Z"))
        assert client.value("SHOW timezone") == "Asia/Tokyo"
        assert other.value(left) == "0"
        assert other.value("SHOW timezone") == "UTC"
        client.send(pgwire.close("s"), pgwire.sync())
        assert kinds(client.until("Z")) == "3Z"
    client.ask("SET work_mem = '3MB'")
    assert other.value("SHOW work_mem") == "4MB"
    assert client.value("SHOW work_mem") == "3MB"
    client.ask("LISTEN c")
    pid = client.value(PID)
    client.ask("UNLISTEN c")
    assert other.value(PID) == pid


@pytest.mark.pooled
def test_d13_state_set_inside_a_function_is_gone_for_the_next_client(single: Any) -> None:
    """A name in a function's body is in no text the client sends."""
    maker = single.raw()
    maker.ask(
        "CREATE FUNCTION hidden() RETURNS void LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM set_config('work_mem', '3MB', false); END$$"
    )
    client = single.raw()
    client.ask("SELECT set_config('app.a', 'b', false), hidden()")
    client.send(pgwire.terminate())
    client.close()
    other = single.raw()
    assert other.value("SHOW work_mem") == "4MB"


@pytest.mark.pooled
def test_d14_pins_are_bounded_and_name_their_reason(start: Any) -> None:
    way = start("--db-wait-timeout", "2s", "--db-pin-limit", "2", connections=4)
    clients = [way.raw() for _ in range(4)]
    for client in clients:
        client.ask("BEGIN")
    for n, client in enumerate(clients):
        # In a transaction, where it cannot wait for its turn without holding a server.
        client.send(pgwire.query(f"SELECT pg_advisory_lock({n}); COMMIT"))
    for client in clients:
        assert kinds(client.until("Z")) == "TDCCZ"
    # Two of the four must go, and are told which statement it was. All have their lock by now, so
    # two locks less are two gone.
    worker = way.raw()
    sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    until(lambda: worker.value(sql) == "2", what="two locks to be given up")
    refused = 0
    for client in clients:
        try:
            assert kinds(client.ask("SELECT 1")) == "TDCZ"
        except (pgwire.Closed, OSError):
            refused += 1
    assert refused == 2
    # Outside of one it waits for its turn, then is told who has it, and lives.
    late = way.raw()
    error = next(one for one in late.ask("SELECT pg_advisory_lock(9)") if one.kind == "E")
    assert error.code == "53400"
    assert "pg_advisory_lock(" in error.fields["D"]
    assert kinds(late.ask("SELECT 1")) == "TDCZ"
    late.send(pgwire.query("SELECT pg_advisory_lock(9)"))
    assert late.is_silent()


@pytest.mark.pooled
def test_d14_many_cursors_at_once_take_turns(start: Any) -> None:
    way = start(connections=3)
    clients = [way.raw() for _ in range(12)]

    def use(client: Any) -> list[str]:
        met = []
        for _ in range(20):
            met.append(kinds(client.ask("DECLARE c CURSOR WITH HOLD FOR SELECT 1")))
            met.append(kinds(client.ask("FETCH 1 FROM c")))
            met.append(kinds(client.ask("CLOSE c")))
        return met

    for met in together([partial(use, client) for client in clients]):
        assert met == ["CZ", "TDCZ", "CZ"] * 20


@pytest.mark.pooled
def test_d14_a_cursor_right_behind_a_statement_that_is_looked_into_waits_for_its_turn(start: Any) -> None:
    """The pool asks the server what such a statement left; its client is answered before that, and goes on."""
    way = start(connections=4)

    def iterate(number: int) -> None:
        client = way.connect(autocommit=True)
        for again in range(60):
            client.execute(f"SET search_path TO s{number % 4 + 1}")
            with client.cursor(f"c{again}", withhold=True, scrollable=False) as rows:
                rows.itersize = 3
                rows.execute("VALUES (1), (2), (3), (4), (5), (6), (7)")
                assert sum(1 for _ in rows) == 7

    together(partial(iterate, number) for number in range(12))


@pytest.mark.pooled
def test_d14_who_is_pinned_within_a_transaction_may_exceed_the_default_limit(start: Any) -> None:
    way = start(connections=4)
    clients = [way.raw() for _ in range(3)]
    for client in clients:
        client.ask("BEGIN")
    for n, client in enumerate(clients):
        client.ask(f"SELECT pg_advisory_lock({n})")
    assert [kinds(client.ask("COMMIT")) for client in clients] == ["CZ"] * 3
    # One server is left to all others.
    assert kinds(way.raw().ask("SELECT 1")) == "TDCZ"


@pytest.mark.pooled
def test_d14_who_listens_or_holds_a_lock_may_be_idle_and_others_not_for_ever(start: Any) -> None:
    way = start("--db-pin-limit", "3", connections=4)
    with way.raw(database="pgbouncer") as admin:
        assert code_of(admin.ask("SET pin_idle_timeout = '300ms'")) == ""
    ties = ("LISTEN news", "SELECT pg_advisory_lock(3)", "CREATE TEMP TABLE t (n int)")
    listener, holder, idle = [way.raw() for _ in ties]
    for client, tie in zip((listener, holder, idle), ties, strict=True):
        assert code_of(client.ask(tie)) == ""
    assert code_of(idle.rest()) == "57P05"
    with way.raw() as sender:
        sender.ask("NOTIFY news, 'late'")
        assert listener.receive().body[4:] == b"news\0late\0"
        assert sender.value("SELECT pg_try_advisory_lock(3)") == "f"
