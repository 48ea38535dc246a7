"""Owns C1 to C12: prepared statements by name, which a client finds on every server it gets.

Leaves the flow of messages to ``test_b_flow``.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from harness import pgwire as p
from harness.pgwire import asked, code_of, kinds, row, status_of


def run(client: p.Client, name: str, *values: bytes | None) -> list[p.Message]:
    return asked(client, p.bind(name, values), p.execute())


def occupied(way: Any, client: p.Client) -> p.Client:
    """Another client holds the server that ``client`` used last, so that it gets another one."""
    holder = way.raw()
    holder.ask("BEGIN; SELECT 1")
    return holder


def test_c1_the_same_text_under_another_search_path_is_another_statement(single: Any) -> None:
    admin = single.raw()
    for tenant in ("a", "b"):
        admin.ask(f"CREATE SCHEMA {tenant}; CREATE TABLE {tenant}.t AS SELECT '{tenant}' AS v")
    clients = {tenant: single.raw(search_path=tenant) for tenant in ("a", "b")}
    for _ in range(2):
        for tenant, client in clients.items():
            asked(client, p.close("s"), p.parse("SELECT v FROM t", "s"))
            assert row(run(client, "s")) == [tenant.encode()]


@pytest.mark.parametrize(
    ("sql", "setting", "values"),
    [
        ("SELECT extract(epoch FROM timestamptz '2024-01-01 00:00')::int", "TimeZone",
         {"UTC": b"1704067200", "Asia/Tokyo": b"1704034800"}),
        ("SELECT extract(month FROM date '01/02/2024')::int", "DateStyle",
         {"ISO, MDY": b"1", "ISO, DMY": b"2"}),
        (r"SELECT length('a\\b')", "standard_conforming_strings", {"on": b"4", "off": b"3"}),
    ],
)
def test_c1_the_same_text_under_settings_that_read_it_otherwise(
    single: Any, sql: str, setting: str, values: dict[str, bytes]
) -> None:
    clients = {value: single.raw(**{setting: value}) for value in values}
    for _ in range(2):
        for value, client in clients.items():
            asked(client, p.close("s"), p.parse(sql, "s"))
            assert row(run(client, "s")) == [values[value]]
    # The same for one whose setting changes between.
    client = single.raw()
    for value in values:
        assert code_of(client.ask(f"SET {setting} = '{value}'")) == ""
        asked(client, p.close("s"), p.parse(sql, "s"))
        assert row(run(client, "s")) == [values[value]]
    client.ask("BEGIN")
    for value in values:
        client.send(
            p.query(f"SET LOCAL {setting} = '{value}'"),
            p.close("s"), p.parse(sql, "s"), p.bind("s"), p.execute(), p.sync(),
        )
        client.until("Z")
        assert row(client.until("Z")) == [values[value]]


def test_c1_a_known_statement_is_prepared_while_others_hold_every_server(single: Any) -> None:
    # libpq's PQprepare waits for the answer, maybe in the thread that is to end the others.
    first, second = single.raw(), single.raw()
    asked(first, p.parse("SELECT 42", "s"))
    holder = occupied(single, first)
    assert kinds(asked(second, p.parse("SELECT 42", "mine"))) == "1Z"
    holder.ask("COMMIT")
    assert row(run(second, "mine")) == [b"42"]


def test_c1_the_same_text_with_other_types_is_another_statement(single: Any) -> None:
    client, other = single.raw(), single.raw()
    sql = "SELECT pg_typeof($1)::text"
    asked(client, p.parse(sql, "s", [p.INT4_OID]))
    asked(other, p.parse(sql, "s", [p.TEXT_OID]))
    assert row(run(client, "s", b"1")) == [b"integer"]
    assert row(run(other, "s", b"1")) == [b"text"]


def test_c1_a_role_changes_what_a_statement_sees(single: Any) -> None:
    admin = single.postgres.connect(dbname=single.dbname)
    admin.execute("CREATE TABLE c1 (n int); ALTER TABLE c1 OWNER TO site; GRANT guest TO site")
    client, other = single.raw(), single.raw()
    other.ask("SET ROLE guest")
    asked(client, p.parse("SELECT count(*) FROM c1", "s"))
    asked(other, p.parse("SELECT count(*) FROM c1", "s"))
    assert row(run(client, "s")) == [b"0"]
    assert code_of(run(other, "s")) == "42501"
    admin.close()


def test_c2_two_clients_use_one_name_for_different_statements(single: Any) -> None:
    one, two = single.raw(), single.raw()
    assert kinds(asked(one, p.parse("SELECT 'one'", "s"))) == "1Z"
    assert kinds(asked(two, p.parse("SELECT 'two'", "s"))) == "1Z"
    for _ in range(3):
        assert row(run(one, "s")) == [b"one"]
        assert row(run(two, "s")) == [b"two"]


def test_c2_answers_that_need_no_server_keep_their_place(single: Any) -> None:
    client, other = single.raw(), single.raw()
    asked(other, p.parse("SELECT 7", "known"))
    parts = [
        *(p.parse("SELECT 1", "a"), p.bind("a"), p.execute()),
        *(p.parse("SELECT 7", "k1"), p.close("a"), p.parse("SELECT 7", "k2")),
        *(p.bind("k1"), p.describe("k2"), p.execute(), p.close("k1"), p.close("none")),
    ]
    assert kinds(asked(client, *parts)) == "12DC1312tTDC33Z"


def test_c3_a_statement_is_found_on_every_server(pooler: Any) -> None:
    client = pooler.raw()
    asked(client, p.parse("SELECT pg_backend_pid(), $1::int", "s"))
    seen = set()
    first = row(run(client, "s", b"1"))
    seen.add(first[0])
    holder = occupied(pooler, client)
    for n in range(3):
        values = row(run(client, "s", b"%d" % n))
        seen.add(values[0])
        assert values[1] == b"%d" % n
    described = asked(client, p.describe("s"))
    assert kinds(described) == "tTZ"
    holder.ask("COMMIT")
    if hasattr(pooler, "pid"):
        assert len(seen) == 2, "the test did not make the client change its server"


def test_c3_close_is_the_clients_own(pooler: Any) -> None:
    one, two = pooler.raw(), pooler.raw()
    for client in (one, two):
        asked(client, p.parse("SELECT 1", "s"))
    assert kinds(asked(one, p.close("s"))) == "3Z"
    assert row(run(two, "s")) == [b"1"]
    assert code_of(run(one, "s")) == "26000"


def test_c4_a_failed_parse_is_remembered_nowhere(pooler: Any) -> None:
    client, other = pooler.raw(), pooler.raw()
    for one in (client, other):
        assert code_of(asked(one, p.parse("SELECT * FROM c4", "s"))) == "42P01"
    assert code_of(run(client, "s")) == "26000"
    other.ask("CREATE TABLE c4 AS SELECT 1 AS n")
    for one in (client, other):
        assert kinds(asked(one, p.parse("SELECT * FROM c4", "s"))) == "1Z"
        assert row(run(one, "s")) == [b"1"]


def test_c4_what_follows_an_error_in_a_pipeline_was_not_prepared(pooler: Any) -> None:
    client = pooler.raw()
    asked(client, p.parse("SELECT 'kept'", "old"))
    holder = occupied(pooler, client)
    # On the new server "old" must be prepared first; it comes after the error and is skipped.
    parts = [p.parse("SELEC", ""), p.parse("SELECT 2", "new"), p.bind("old"), p.execute()]
    assert kinds(asked(client, *parts)) == "EZ"
    assert code_of(run(client, "new")) == "26000"
    assert row(run(client, "old")) == [b"kept"]
    assert kinds(asked(client, p.parse("SELECT 2", "new"))) == "1Z"
    assert row(run(client, "new")) == [b"2"]
    holder.ask("COMMIT")


def test_c4_an_error_before_an_injected_parse_within_a_transaction(pooler: Any) -> None:
    client = pooler.raw()
    asked(client, p.parse("SELECT 'kept'", "s"))
    holder = occupied(pooler, client)
    client.ask("BEGIN")
    assert code_of(client.ask("SELECT 1/0")) == "22012"
    assert code_of(run(client, "s")) == "25P02"
    client.ask("ROLLBACK")
    assert row(run(client, "s")) == [b"kept"]
    holder.ask("COMMIT")


def test_c5_a_name_in_use_and_a_name_unknown(single: Any) -> None:
    client = single.raw()
    asked(client, p.parse("SELECT 1", "s"))
    assert code_of(asked(client, p.parse("SELECT 1", "s"))) == "42P05"
    assert code_of(asked(client, p.parse("SELECT 2", "s"))) == "42P05"
    assert row(run(client, "s")) == [b"1"]
    for message in (p.bind("unknown"), p.describe("unknown")):
        answer = asked(client, message, p.execute())
        assert code_of(answer) == "26000"
        assert kinds(answer) == "EZ"
    for name, words in (("", "unnamed prepared statement"), ("no", 'prepared statement "no"')):
        failed = run(client, name)[0].fields
        assert failed["M"] == f"{words} does not exist"
    asked(client, p.parse("SELECT $1::int", "s2"))
    wants = run(client, "s2")[0].fields["M"]
    assert wants.endswith('prepared statement "s2" requires 1')
    client.ask("BEGIN")
    assert code_of(run(client, "unknown")) == "26000"
    assert status_of(asked(client)) == "E"
    client.ask("ROLLBACK")


@pytest.mark.pooled
@pytest.mark.parametrize(
    "sql",
    [
        "DO $$BEGIN EXECUTE 'DEALLOCATE ALL'; END$$",
        f"SELECT '{'x' * (1 << 20)}'; DEALLOCATE ALL",
    ],
    ids=["do", "long"],
)
def test_c5_a_statement_that_went_away_unseen_is_prepared_anew(single: Any, sql: str) -> None:
    client, other = single.raw(), single.raw()
    asked(other, p.parse("SELECT 'c5'", "s"))
    assert row(run(other, "s")) == [b"c5"]
    assert code_of(client.ask(sql)) == ""
    assert row(run(other, "s")) == [b"c5"]


@pytest.mark.pooled
def test_c5_no_client_takes_the_statements_of_others_away(single: Any) -> None:
    client, other = single.raw(), single.raw()
    asked(other, p.parse("SELECT 'c5'", "s"))
    for sql in ("DEALLOCATE {}", "DEALLOCATE {}; SELECT 1", "EXECUTE {}", "PREPARE {} AS SELECT 1"):
        for number in range(1, 9):
            refused = client.ask(sql.format(f"canter_{number}"))
            assert code_of(refused) == "26000"
            assert "canter_?" not in refused[0].fields["M"]
    assert row(run(other, "s")) == [b"c5"]
    assert client.value("SELECT 1") == "1"


def test_c6_close_of_the_unknown_succeeds_and_of_a_portal_closes_no_statement(
    single: Any,
) -> None:
    client = single.raw()
    asked(client, p.parse("SELECT 1", "s"))
    assert kinds(asked(client, p.close("none"), p.close("s", b"P"))) == "33Z"
    assert row(run(client, "s")) == [b"1"]
    assert kinds(asked(client, p.close("s"), p.parse("SELECT 2", "s"))) == "31Z"
    assert row(run(client, "s")) == [b"2"]


def test_c7_more_statements_than_a_server_keeps(single: Any) -> None:
    client, other = single.raw(), single.raw()
    count = 450
    for n in range(count):
        client.send(p.parse(f"SELECT {n}", f"s{n}"))
    client.send(p.sync())
    assert kinds(client.until("Z")) == "1" * count + "Z"
    other.ask("SELECT 1")
    parts = [part for n in range(count) for part in (p.bind(f"s{n}"), p.execute())]
    answer = asked(client, *parts)
    rows = [one.values[0] for one in answer if one.kind == "D"]
    assert rows == [b"%d" % n for n in range(count)]
    # One batch that uses the first of them again after all others.
    answer = asked(client, *parts, p.bind("s0"), p.execute())
    assert [one.values[0] for one in answer if one.kind == "D"][-1] == b"0"


@pytest.mark.pooled
def test_c7_the_server_keeps_a_bounded_number(single: Any) -> None:
    client = single.raw()
    for n in range(0, 900, 30):
        for m in range(n, n + 30):
            client.send(p.parse(f"SELECT {m}", f"s{m}"), p.bind(f"s{m}"), p.execute())
        client.send(p.sync())
        client.until("Z")
    kept = int(client.value("SELECT count(*) FROM pg_prepared_statements") or 0)
    assert 0 < kept <= 200


def test_c8_deallocate_of_a_protocol_name(pooler: Any) -> None:
    one, two = pooler.raw(), pooler.raw()
    for client in (one, two):
        for name in ("_pg3_0", "Weird name", "keep"):
            asked(client, p.parse("SELECT 1", name))
    assert kinds(one.ask("DEALLOCATE _pg3_0")) == "CZ"
    assert kinds(one.ask('DEALLOCATE PREPARE "Weird name"')) == "CZ"
    for name in ("_pg3_0", "Weird name"):
        assert code_of(run(one, name)) == "26000"
        assert row(run(two, name)) == [b"1"]
    assert row(run(one, "keep")) == [b"1"]
    assert code_of(one.ask("DEALLOCATE _pg3_0")) == "26000"


@pytest.mark.parametrize("name", ["", "d"])
def test_c8_deallocate_takes_a_name_away_when_it_is_run(pooler: Any, name: str) -> None:
    client = pooler.raw()
    asked(client, p.parse("SELECT 1", "s"))
    asked(client, p.parse("DEALLOCATE s", name))
    assert row(run(client, "s")) == [b"1"]
    asked(client, p.parse("DEALLOCATE s", "again"))
    client.send(p.bind("again"), p.sync())
    assert kinds(client.until("Z")) == "2Z"
    assert row(run(client, "s")) == [b"1"]
    client.send(p.bind("again"), p.execute(), p.sync())
    assert kinds(client.until("Z")) == "2CZ"
    assert code_of(run(client, "s")) == "26000"
    client.send(p.bind("again"), p.execute(), p.sync())
    assert code_of(client.until("Z")) == "26000"
    asked(client, p.parse("SELECT 3", "s"))
    assert row(run(client, "s")) == [b"3"]


def test_c4_a_rollback_in_front_of_a_name_in_one_segment(pooler: Any) -> None:
    client, other = pooler.raw(), pooler.raw()
    asked(other, p.parse("SELECT 4", "known"))
    client.ask("BEGIN")
    asked(client, p.parse("SELECT 4", "known"))
    client.ask("SELECT 1/0")
    client.send(p.extended("ROLLBACK"), p.parse("SELECT 4", "s"), p.sync())
    assert kinds(client.until("Z")) == "12nC1Z"
    assert row(run(client, "s")) == [b"4"]


@pytest.mark.parametrize("sql", ["DEALLOCATE ALL", "DISCARD ALL", "deallocate prepare all"])
def test_c8_deallocate_all_is_this_clients_view(pooler: Any, sql: str) -> None:
    one, two = pooler.raw(), pooler.raw()
    for client in (one, two):
        asked(client, p.parse("SELECT 1", "s"))
    answer = one.ask(sql)
    assert answer[0].tag == {"DI": "DISCARD ALL"}.get(sql[:2], "DEALLOCATE ALL")
    assert code_of(run(one, "s")) == "26000"
    for _ in range(2):
        assert row(run(two, "s")) == [b"1"]
    assert kinds(asked(one, p.parse("SELECT 2", "s"))) == "1Z"
    assert row(run(one, "s")) == [b"2"]


def test_c8_deallocate_all_in_a_transaction(single: Any) -> None:
    client = single.raw()
    asked(client, p.parse("SELECT 1", "s"))
    client.ask("BEGIN")
    assert status_of(client.ask("DEALLOCATE ALL")) == "T"
    assert code_of(run(client, "s")) == "26000"
    client.ask("ROLLBACK")
    # A rollback does not bring it back.
    assert code_of(run(client, "s")) == "26000"


def test_c9_statements_prepared_in_sql(start: Any) -> None:
    way = start(connections=4)
    one, two = way.raw(), way.raw()
    one.ask("PREPARE mine (int) AS SELECT $1 + 1")
    for _ in range(2):
        assert one.value("EXECUTE mine(1)") == "2"
        assert code_of(two.ask("EXECUTE mine(1)")) == "26000"
    assert row(run(one, "mine", b"4")) == [b"5"]
    two.ask("PREPARE mine AS SELECT 'two'")
    assert two.value("EXECUTE mine") == "two"
    assert one.value("EXECUTE mine(2)") == "3"
    assert kinds(one.ask("DEALLOCATE mine")) == "CZ"
    assert code_of(one.ask("EXECUTE mine(1)")) == "26000"


def test_c9_deallocate_of_a_protocol_name_beside_those_of_sql(single: Any) -> None:
    client = single.raw()
    asked(client, p.parse("SELECT 1", "s"))
    assert kinds(client.ask("PREPARE mine AS SELECT 2")) == "CZ"
    assert kinds(client.ask("DEALLOCATE s")) == "CZ"
    assert code_of(run(client, "s")) == "26000"
    assert client.value("EXECUTE mine") == "2"
    assert kinds(client.ask("DEALLOCATE mine")) == "CZ"
    assert code_of(client.ask("DEALLOCATE mine")) == "26000"


def test_c9_what_the_protocol_runs_of_sqls_prepare_stays_with_its_client(single: Any) -> None:
    client, other = single.raw(), single.raw()
    client.ask("PREPARE mine AS SELECT set_config('work_mem', '77MB', false)")
    assert row(run(client, "mine")) == [b"77MB"]
    client.ask("DEALLOCATE mine")
    assert other.value("SHOW work_mem") != "77MB"
    assert client.value("SHOW work_mem") == "77MB"
    # Also where the setting is one of the session's own, which only a parameter names.
    client.ask("PREPARE mine (text, text) AS SELECT set_config($1, $2, false)")
    assert row(run(client, "mine", b"app.tenant", b"7")) == [b"7"]
    client.ask("DEALLOCATE mine")
    assert other.value("SELECT current_setting('app.tenant', true)") in (None, "")
    assert client.value("SHOW app.tenant") == "7"


@pytest.mark.pooled
def test_c9_a_server_is_free_again_after_deallocate(single: Any) -> None:
    one, two = single.raw(), single.raw()
    one.ask("PREPARE mine AS SELECT 1")
    two.send(p.query("SELECT 2"))
    assert two.is_silent()
    one.ask("DEALLOCATE mine")
    assert kinds(two.until("Z")) == "TDCZ"


def test_c10_a_changed_result_type_heals_outside_a_transaction(pooler: Any) -> None:
    client, other = pooler.raw(), pooler.raw()
    client.ask("CREATE TABLE c10 AS SELECT 1 AS n")
    asked(client, p.parse("SELECT * FROM c10", "s"))
    assert row(run(client, "s")) == [b"1"]
    other.ask("ALTER TABLE c10 ADD COLUMN m int DEFAULT 5")
    answer = asked(client, p.bind("s"), p.describe(kind=b"P"), p.execute())
    if hasattr(pooler, "pid"):
        assert kinds(answer) == "2TDCZ"
        assert row(answer) == [b"1", b"5"]
    else:
        assert code_of(answer) == "0A000"
    # Prepared anew it works in any case, for everyone.
    for one in (client, other):
        asked(one, p.close("s"), p.parse("SELECT * FROM c10", "s"))
        assert row(run(one, "s")) == [b"1", b"5"]


def test_c10_a_client_that_reads_by_the_old_shape_is_told_that_it_changed(single: Any) -> None:
    # asyncpg and pgjdbc ask for the shape once: another one's rows would be read as what they are not.
    client, other = single.raw(), single.raw()
    client.ask("CREATE TABLE c10 AS SELECT 1 AS n")
    asked(client, p.parse("SELECT * FROM c10", "s"), p.describe("s"))
    assert row(run(client, "s")) == [b"1"]
    other.ask("ALTER TABLE c10 ALTER COLUMN n TYPE text")
    assert code_of(run(client, "s")) == "0A000"
    asked(client, p.close("s"), p.parse("SELECT * FROM c10", "s"), p.describe("s"))
    assert row(run(client, "s")) == [b"1"]


def test_c10_rows_of_another_server_have_the_shape_that_was_told(pooler: Any) -> None:
    client, other = pooler.raw(), pooler.raw()
    client.ask("CREATE TABLE c10 AS SELECT 1 AS n")
    asked(client, p.parse("SELECT * FROM c10", "s"), p.describe("s"))
    assert row(run(client, "s")) == [b"1"]
    # A server that has the statement from us, and it is still as it was told.
    holder = occupied(pooler, client)
    assert row(run(client, "s")) == [b"1"]
    other.ask("ALTER TABLE c10 ALTER COLUMN n TYPE text")
    # The plan of neither has the shape that was told, however often it is tried.
    for _ in range(3):
        assert code_of(run(client, "s")) == "0A000"
    holder.ask("COMMIT")
    for _ in range(3):
        assert code_of(run(client, "s")) == "0A000"
    client.ask("BEGIN")
    assert code_of(run(client, "s")) == "0A000"
    assert code_of(client.ask("SELECT 1")) == "25P02"
    client.ask("ROLLBACK")
    asked(client, p.close("s"), p.parse("SELECT * FROM c10", "s"), p.describe("s"))
    assert row(run(client, "s")) == [b"1"]


def test_c10_within_a_transaction_the_error_is_the_clients(pooler: Any) -> None:
    client, other = pooler.raw(), pooler.raw()
    client.ask("CREATE TABLE c10 AS SELECT 1 AS n")
    asked(client, p.parse("SELECT * FROM c10", "s"))
    run(client, "s")
    client.ask("BEGIN")
    client.ask("ALTER TABLE c10 ADD COLUMN m int")
    assert code_of(run(client, "s")) == "0A000"
    client.ask("ROLLBACK")
    assert row(run(client, "s")) == [b"1"]
    assert other.value("SELECT n FROM c10") == "1"


def test_c10_a_statement_prepared_after_a_change_of_schema_knows_it(single: Any) -> None:
    with single.connect(autocommit=False, prepare_threshold=0) as connection:
        for _ in range(3):
            # Each time another type by the same name, and psycopg knows that it must prepare anew.
            connection.execute("CREATE TYPE c10_kind AS ENUM ('a', 'b')")
            connection.execute("CREATE TABLE c10_new (kind c10_kind[])")
            connection.execute("INSERT INTO c10_new VALUES (%s::c10_kind[])", [["a"]])
            found = connection.execute("SELECT * FROM c10_new").fetchall()
            connection.execute("ALTER TABLE c10_new ADD more int")
            assert len(found) == len(connection.execute("SELECT * FROM c10_new").fetchall())
            connection.rollback()


def test_c12_names_texts_and_values_larger_than_a_buffer(pooler: Any) -> None:
    client, other = pooler.raw(), pooler.raw()
    name, sql = "n" * 9_900, f"SELECT length($1), '{'t' * 70_000}'"
    assert kinds(asked(client, p.parse(sql, name))) == "1Z"
    holder = occupied(pooler, client)
    values = row(run(client, name, b"v" * 300_000))
    assert values == [b"300000", b"t" * 70_000]
    assert kinds(asked(client, p.describe(name))) == "tTZ"
    assert kinds(asked(client, p.close(name))) == "3Z"
    holder.ask("COMMIT")
    assert other.value("SELECT 1") == "1"


def test_c12_byte_by_byte(single: Any) -> None:
    client, other = single.raw(), single.raw()
    client.trickle(p.parse("SELECT $1::text", "slow"), p.sync())
    assert kinds(client.until("Z")) == "1Z"
    other.ask("SELECT 1")
    client.trickle(p.bind("slow", [b"x"]), p.execute(), p.sync())
    assert row(client.until("Z")) == [b"x"]


def test_c_psycopg_prepares_and_evicts_without_anybody_noticing(pooler: Any) -> None:
    connections = [pooler.connect(prepare_threshold=0) for _ in range(3)]
    for connection in connections:
        connection.prepared_max = 5
    for n in range(40):
        for connection in connections:
            found = connection.execute(f"SELECT {n}, %s", [n]).fetchone()
            assert found == (n, n)
    for connection in connections:
        connection.autocommit = False
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/%s", [0])
        connection.rollback()
        assert connection.execute("SELECT %s", [1]).fetchone() == (1,)
        connection.rollback()


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("sql", ["DEALLOCATE ALL", "DEALLOCATE PREPARE ALL"])
def test_c8_a_name_given_after_deallocate_all_in_one_segment(
    single: Any, sql: str, known: bool
) -> None:
    client, other = single.raw(), single.raw()
    text = f"SELECT 7 /* {sql} {known} */"
    if known:
        asked(other, p.parse(text, "theirs"))
    steps = [p.extended(sql), p.parse(text, "s1"), p.bind("s1"), p.execute()]
    assert kinds(asked(client, *steps))[-5:] == "12DCZ"
    for one, name in ((client, "s1"), (client, "s1"), (other, "theirs")):
        if name == "theirs":
            asked(one, p.close(name), p.parse(text, name))
        assert row(run(one, name)) == [b"7"]


def test_c8_a_name_given_right_behind_discard_all(single: Any) -> None:
    client, other = single.raw(), single.raw()
    text = "SELECT 8 /* behind DISCARD ALL */"
    client.send(p.query("DISCARD ALL"), p.parse(text, "s1"), p.bind("s1"), p.execute(), p.sync())
    assert kinds(client.until("Z")) == "CZ"
    assert kinds(client.until("Z")) == "12DCZ"
    asked(other, p.parse(text, "theirs"))
    for one, name in ((client, "s1"), (other, "theirs")):
        assert row(run(one, name)) == [b"8"]


def test_c4_names_after_an_error_are_those_before_it(single: Any) -> None:
    client = single.raw()
    asked(client, p.parse("SELECT 1", "a"))
    failed = asked(client, p.parse("SELEC"), p.close("a"), p.parse("SELECT 2", "a"))
    assert code_of(failed) == "42601"
    assert row(run(client, "a")) == [b"1"]
    assert code_of(asked(client, p.parse("SELEC", "b"), p.close("b"))) == "42601"
    assert kinds(asked(client, p.parse("SELECT 3", "b"))) == "1Z"
    assert row(run(client, "b")) == [b"3"]
