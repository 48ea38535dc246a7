"""Owns D1 to D7: settings of a session, which follow their client and reach nobody else.

Leaves state that ties a client to its server (D8 to D14) to ``test_d_pins``.
"""

from __future__ import annotations

from typing import Any

import pytest
from harness import pgwire
from harness.operated import until
from harness.pgwire import code_of, kinds

SETS = [
    "SET work_mem = '3MB'",
    "SET SESSION work_mem TO '3MB'",
    "set WORK_MEM = '3MB'",
    "/* why */ SET work_mem = '3MB' -- because",
    "SET \"work_mem\" = '3MB'",
    "SELECT set_config('work_mem', '3MB', false)",
    "SELECT pg_catalog.set_config('work_' || 'mem', '3MB', false)",
    "SELECT 1; SET work_mem = '3MB'; SELECT 2",
    "DO $$BEGIN PERFORM set_config('work_mem', '3MB', false); END$$",
    "DO $$BEGIN SET work_mem = '3MB'; END$$",
    "BEGIN; SET work_mem = '3MB'; COMMIT",
    "BEGIN; SAVEPOINT a; SET work_mem = '3MB'; RELEASE a; COMMIT",
    "BEGIN; SET work_mem = '3MB'; SAVEPOINT a; SET work_mem = '9MB'; ROLLBACK TO a; COMMIT",
    "WITH x AS (SELECT set_config('work_mem', '3MB', false)) SELECT * FROM x",
    "UPDATE pg_settings SET setting = '3072' WHERE name = 'work_mem'",
]
"""Each leaves ``work_mem`` at 3MB for its session."""

KEEPS = [
    "SET LOCAL work_mem = '3MB'",
    "SELECT set_config('work_mem', '3MB', true)",
    "BEGIN; SET LOCAL work_mem = '3MB'; COMMIT",
    "BEGIN; SET work_mem = '3MB'; ROLLBACK",
    "BEGIN; SAVEPOINT a; SET work_mem = '3MB'; ROLLBACK TO a; COMMIT",
    "SET work_mem = '3MB'; SELECT 1/0",
    "BEGIN; SELECT set_config('work_mem', '3MB', false); ROLLBACK",
    "SELECT 'SET work_mem = ''3MB'''",
    "SET work_mem = '3MB'; RESET work_mem",
    "SET work_mem = '3MB'; RESET ALL",
    "SET work_mem = '3MB'; SET work_mem TO DEFAULT",
]
"""Each leaves it as it was."""


def mem(client: pgwire.Client) -> str | None:
    return client.value("SHOW work_mem")


@pytest.mark.parametrize("sql", SETS)
def test_d2_a_setting_follows_its_client_and_reaches_nobody_else(single: Any, sql: str) -> None:
    client, other = single.raw(), single.raw()
    before = mem(other)
    assert code_of(client.ask(sql)) == ""
    for _ in range(2):
        assert mem(client) == "3MB"
        assert mem(other) == before
    assert mem(single.raw()) == before


@pytest.mark.parametrize("sql", KEEPS)
def test_d4_what_ends_with_its_transaction_leaves_nothing(single: Any, sql: str) -> None:
    client, other = single.raw(), single.raw()
    before = mem(other)
    client.ask(sql)
    for _ in range(2):
        assert mem(client) == before
        assert mem(other) == before


# A RESET ends what was set before.
@pytest.mark.parametrize("sql", [sql for sql in KEEPS if "RESET" not in sql and "DEFAULT" not in sql])
def test_d5_a_value_that_was_set_before_is_there_again(single: Any, sql: str) -> None:
    client, other = single.raw(), single.raw()
    before = mem(other)
    client.ask("SET work_mem = '7MB'")
    client.ask(sql)
    assert mem(other) == before
    assert mem(client) == "7MB"


def test_d1_a_reported_setting_is_taken_from_its_report(single: Any) -> None:
    client, other = single.raw(), single.raw()
    for sql in ("SET TIME ZONE 'Asia/Tokyo'", "SET NAMES 'LATIN1'", "SET datestyle = german"):
        client.ask(sql)
    for _ in range(2):
        assert client.value("SHOW timezone") == "Asia/Tokyo"
        assert client.value("SHOW client_encoding") == "LATIN1"
        assert client.value("SELECT date '2026-11-21'") == "21.11.2026"
        assert other.value("SHOW timezone") == "UTC"
        assert other.value("SHOW client_encoding") == "UTF8"
        assert other.value("SELECT date '2026-11-21'") == "2026-11-21"


@pytest.mark.parametrize(
    ("sql", "show", "expected"),
    [
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "transaction_read_only", "on"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
         "transaction_isolation", "serializable"),
        ("SET search_path = pg_catalog, public", "search_path", "pg_catalog, public"),
        ("SET SCHEMA 'information_schema'", "search_path", "information_schema"),
        ("SET app.tenant = 'it''s'", "app.tenant", "it's"),
        ("SET XML OPTION DOCUMENT", "xmloption", "document"),
        ("SET extra_float_digits = 0", "extra_float_digits", "0"),
        ("SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE", "timezone", "<+02>-02"),
        ("SET app.empty = ''", "app.empty", ""),
        ("SET app.hostile = 'x'';SELECT 1/0--\\'", "app.hostile", "x';SELECT 1/0--\\"),
    ],
)
def test_d2_other_ways_to_set(single: Any, sql: str, show: str, expected: str) -> None:
    client, other = single.raw(), single.raw()
    assert code_of(client.ask(sql)) == ""
    for _ in range(2):
        assert client.value(f"SHOW {show}") == expected
        assert other.value(f"SELECT current_setting('{show}', true)") != expected or not expected


def test_d2_roles(single: Any) -> None:
    single.postgres.admin.execute("GRANT guest TO site")
    client, other = single.raw(), single.raw()
    client.ask("SET ROLE guest")
    for _ in range(2):
        assert client.value("SELECT current_user || session_user") == "guestsite"
        assert other.value("SELECT current_user || session_user") == "sitesite"
    client.ask("RESET ROLE")
    assert client.value("SELECT current_user") == "site"
    client.ask("SET ROLE guest")
    client.ask("SET ROLE NONE")
    for _ in range(2):
        assert client.value("SELECT current_user") == "site"
        assert other.value("SELECT current_user") == "site"


def test_d2_a_role_in_a_rolled_back_transaction(single: Any) -> None:
    single.postgres.admin.execute("GRANT guest TO site")
    client = single.raw()
    client.ask("BEGIN; SET ROLE guest; ROLLBACK")
    assert client.value("SELECT current_user") == "site"
    client.ask("BEGIN; SET LOCAL ROLE guest; COMMIT")
    assert client.value("SELECT current_user") == "site"


def test_d2_session_authorization(start: Any, postgres: Any, database: str) -> None:
    way = start(connections=1, url=url_as_superuser(postgres, database))
    client, other = way.raw(user="postgres"), way.raw(user="postgres")
    client.ask("SET SESSION AUTHORIZATION guest")
    for _ in range(2):
        assert client.value("SELECT session_user") == "guest"
        assert other.value("SELECT session_user") == "postgres"
    client.ask("RESET SESSION AUTHORIZATION")
    for _ in range(2):
        assert client.value("SELECT session_user") == "postgres"


def url_as_superuser(postgres: Any, database: str) -> str:
    from harness.pooler import url_of

    return url_of(postgres, database, "postgres")


@pytest.mark.pooled
def test_d2_settings_of_a_superusers_role_follow_their_client(single: Any, postgres: Any) -> None:
    postgres.rows("CREATE ROLE boss SUPERUSER")
    postgres.rows("GRANT boss TO site")
    try:
        client, other = single.raw(), single.raw()
        client.ask("SET ROLE boss")
        assert code_of(client.ask("SET session_replication_role = replica")) == ""
        for _ in range(2):
            assert client.value("SHOW session_replication_role") == "replica"
            assert client.value("SELECT current_user") == "boss"
            assert other.value("SHOW session_replication_role") == "origin"
            assert other.value("SELECT current_user") == "site"
        client.ask("RESET session_replication_role")
        client.ask("RESET ROLE")
        assert client.value("SHOW session_replication_role") == "origin"
    finally:
        client.close()
        until(lambda: code_of(other.ask("SELECT 1")) == "", what="the server to be clean")
        postgres.rows("DROP ROLE boss")


@pytest.mark.pooled
def test_d2_settings_of_a_superuser_in_a_role_harm_nobody(
    start: Any, postgres: Any, database: str
) -> None:
    way = start(connections=1, url=url_as_superuser(postgres, database))
    client, other = way.raw(user="postgres"), way.raw(user="postgres")
    client.ask("SET log_min_duration_statement = 60000")
    for one in (client, other):
        assert code_of(one.ask("SET ROLE guest")) == ""
    for _ in range(2):
        assert client.value("SHOW log_min_duration_statement") == "1min"
        assert other.value("SHOW log_min_duration_statement") == "-1"
        for one in (client, other):
            assert one.value("SELECT current_user") == "guest"


@pytest.mark.pooled
def test_d2_a_setting_that_a_used_server_cannot_take_gets_another(single: Any) -> None:
    maker, client = single.raw(), single.raw()
    client.ask("SET temp_buffers = '2MB'")
    made = "CREATE TEMP TABLE t AS SELECT 1 AS n; SELECT * FROM t; DROP TABLE t"
    assert code_of(maker.ask(made)) == ""
    assert maker.value("SHOW temp_buffers") == "8MB"
    for _ in range(2):
        assert client.value("SHOW temp_buffers") == "2MB"
        assert code_of(maker.ask(made)) == ""
    # So does one that connects with it.
    late = single.raw(temp_buffers="4MB")
    assert late.value("SHOW temp_buffers") == "4MB"
    # What is wrong costs nobody a connection.
    assert code_of(maker.ask(made)) == ""
    pids = single.pids()
    wrong = single.stranger()
    found = wrong.start(user="site", database=single.dbname, temp_buffers="banana")
    assert found[-1].kind == "E"
    assert single.pids() == pids


def test_d3_set_config_with_bound_parameters(single: Any) -> None:
    client, other = single.raw(), single.raw()
    sql = "SELECT set_config($1, $2, false)"
    client.send(pgwire.extended(sql, b"TimeZone", b"Asia/Tokyo"), pgwire.sync())
    assert kinds(client.until("Z")) == "12TDCZ"
    client.send(pgwire.extended(sql, b"work_mem", b"3MB"), pgwire.sync())
    client.until("Z")
    for _ in range(2):
        assert client.value("SHOW timezone") == "Asia/Tokyo"
        assert mem(client) == "3MB"
        assert other.value("SHOW timezone") == "UTC"
        assert mem(other) == "4MB"


def test_d3_set_config_in_a_prepared_statement_that_is_run_later(single: Any) -> None:
    client, other = single.raw(), single.raw()
    client.send(pgwire.parse("SELECT set_config('work_mem', $1, false)", "s"), pgwire.sync())
    client.until("Z")
    assert mem(other) == "4MB"
    client.send(pgwire.bind("s", [b"3MB"]), pgwire.execute(), pgwire.sync())
    client.until("Z")
    assert mem(other) == "4MB"
    assert mem(client) == "3MB"


@pytest.mark.parametrize(
    ("prepare", "execute"),
    [
        ("PREPARE s(text) AS SELECT set_config('app.tenant', $1, false)", "EXECUTE s('7')"),
        ("PREPARE s(text, text) AS SELECT set_config($1, $2, false)",
         "EXECUTE s('app.tenant', '7')"),
        ("PREPARE s(text) AS SELECT set_config('app.tenant', $1, false)",
         "EXPLAIN ANALYZE EXECUTE s('7')"),
        ("PREPARE s(text) AS SELECT set_config('app.tenant', $1, false) AS n",
         "CREATE TABLE d3 AS EXECUTE s('7')"),
    ],
)
def test_d3_set_config_in_a_statement_prepared_in_sql(
    single: Any, prepare: str, execute: str
) -> None:
    client, other = single.raw(), single.raw()
    assert code_of(client.ask(prepare)) == ""
    assert code_of(client.ask(execute)) == ""
    assert code_of(client.ask("DEALLOCATE s")) == ""
    assert other.value("SELECT current_setting('app.tenant', true)") in (None, "")
    assert client.value("SELECT current_setting('app.tenant', true)") == "7"


def test_d1_a_setting_that_a_trigger_changes_stays_with_its_client(single: Any) -> None:
    client, other = single.raw(), single.raw()
    client.ask("CREATE TABLE d1 (n int)")
    client.ask(
        "CREATE FUNCTION d1_zone() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " PERFORM set_config('TimeZone', 'Asia/Tokyo', false); RETURN NULL; END$$;"
        " CREATE TRIGGER d1 AFTER INSERT ON d1 EXECUTE FUNCTION d1_zone()"
    )
    assert code_of(client.ask("INSERT INTO d1 VALUES (1)")) == ""
    for _ in range(2):
        assert other.value("SHOW timezone") != "Asia/Tokyo"
        assert client.value("SHOW timezone") == "Asia/Tokyo"


def test_d2_a_custom_setting_that_is_empty_is_set_on_every_server(pooler: Any) -> None:
    client, others = pooler.raw(), [pooler.raw(), pooler.raw()]
    client.ask("SET d2.tenant = ''")
    for other in others:
        other.ask("BEGIN; SELECT 1")
        assert other.value("SELECT 1") == "1"
        other.ask("COMMIT")
        holder = pooler.raw()
        holder.ask("BEGIN; SELECT 1")
        assert client.value("SELECT current_setting('d2.tenant')") == ""
        holder.ask("COMMIT")


@pytest.mark.parametrize("sql", ["RESET ROLE", "DISCARD ALL", "SET role TO DEFAULT"])
def test_d6_a_role_given_at_the_start_is_back_after_a_reset(
    start: Any, postgres: Any, database: str, sql: str
) -> None:
    way = start(connections=1, url=url_as_superuser(postgres, database))
    client = way.raw(user="postgres", role="site")
    assert client.value("SELECT current_user") == "site"
    client.ask("SET ROLE guest")
    assert code_of(client.ask(sql)) == ""
    assert client.value("SELECT current_user") == "site"
    client.ask("SET ROLE guest")
    client.ask("RESET ALL")
    assert client.value("SELECT current_user") == "guest"
    client.ask("BEGIN")
    client.ask(sql if sql != "DISCARD ALL" else "RESET ROLE")
    assert client.value("SELECT current_user") == "site"
    client.ask("ROLLBACK")
    assert client.value("SELECT current_user") == "guest"


def test_d10_a_lock_taken_by_a_statement_prepared_in_sql(pooler: Any) -> None:
    client, other = pooler.raw(), pooler.raw()
    client.ask("PREPARE l AS SELECT pg_advisory_lock(11)")
    client.ask("EXECUTE l")
    client.ask("DEALLOCATE l")
    for _ in range(3):
        assert other.value("SELECT pg_try_advisory_lock(11)") == "f"
    assert client.value("SELECT pg_advisory_unlock(11)") == "t"
    assert other.value("SELECT pg_try_advisory_lock(11)") == "t"


def test_d5_a_setting_in_a_commit_that_fails_reverts(single: Any) -> None:
    client, other = single.raw(), single.raw()
    client.ask("CREATE TABLE d5 (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    client.ask("BEGIN; SET work_mem = '3MB'; INSERT INTO d5 VALUES (1), (1)")
    assert code_of(client.ask("COMMIT")) == "23505"
    assert mem(client) == "4MB"
    assert mem(other) == "4MB"


def test_d5_within_a_pipeline(single: Any) -> None:
    client, other = single.raw(), single.raw()
    sets = pgwire.extended("SET work_mem = '3MB'")
    client.send(sets, pgwire.extended("SELECT 1/0"), pgwire.sync())
    assert code_of(client.until("Z")) == "22012"
    assert mem(client) == "4MB"
    client.send(sets, pgwire.sync(), pgwire.extended("SELECT 1/0"), pgwire.sync())
    client.until("Z")
    assert code_of(client.until("Z")) == "22012"
    assert mem(other) == "4MB"
    assert mem(client) == "3MB"


@pytest.mark.parametrize("sql", ["RESET work_mem", "RESET ALL", "DISCARD ALL",
                                 "SET work_mem TO DEFAULT", "SET SESSION work_mem = DEFAULT"])
def test_d6_reset_gives_a_client_its_own_start_values(single: Any, sql: str) -> None:
    client, other = single.raw(work_mem="5MB"), single.raw()
    plain = single.raw()
    client.ask("SET work_mem = '3MB'")
    assert code_of(client.ask(sql)) == ""
    for _ in range(2):
        assert mem(client) == "5MB"
        assert mem(other) == "4MB"
    plain.ask("SET work_mem = '3MB'")
    plain.ask(sql)
    for _ in range(2):
        assert mem(plain) == "4MB"
        assert mem(client) == "5MB"


@pytest.mark.parametrize("sql", ["RESET ALL", "DISCARD ALL"])
def test_d6_reset_all_keeps_what_is_reported_as_it_was_at_start(single: Any, sql: str) -> None:
    client, other = single.raw(TimeZone="Asia/Tokyo", application_name="web"), single.raw()
    client.ask("SET timezone = 'Europe/Rome'")
    other.ask("SELECT 1")
    client.ask(sql)
    for _ in range(2):
        assert client.value("SHOW timezone") == "Asia/Tokyo"
        assert client.value("SHOW application_name") == "web"
        assert other.value("SHOW timezone") == "UTC"


def test_d7_timeouts_of_one_client_do_not_hit_another(single: Any) -> None:
    hasty, patient = single.raw(), single.raw()
    hasty.ask("SET idle_in_transaction_session_timeout = 40000; SET lock_timeout = 50000")
    hasty.ask("SET statement_timeout = 300")
    assert code_of(hasty.ask("SELECT pg_sleep(10)")) == "57014"
    for name in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"):
        assert patient.value(f"SHOW {name}") == "0"
    assert kinds(patient.ask("SELECT pg_sleep(0.5)")) == "TDCZ"
    assert code_of(hasty.ask("SELECT pg_sleep(10)")) == "57014"


@pytest.mark.pooled
def test_d7_a_timeout_that_nothing_can_keep_harms_only_who_set_it(single: Any) -> None:
    """What the pooler asks and sets on its own is under the client's timeout, too."""
    hasty, patient = single.raw(), single.raw()
    hasty.ask("SET statement_timeout = 1")
    for _ in range(40):
        assert code_of(hasty.ask("SELECT pg_sleep(0.002)")) in ("57014", "57P01", "")
        assert patient.value("SHOW statement_timeout") == "0"
        assert kinds(patient.ask("SELECT pg_sleep(0.005)")) == "TDCZ"


@pytest.mark.parametrize("name", ["application_name", "TimeZone"])
def test_d1_what_the_server_reports_counts_also_where_no_text_says_it(
    single: Any, name: str
) -> None:
    client, other = single.raw(), single.raw()
    before = other.value(f"SHOW {name}")
    client.ask(
        "CREATE FUNCTION tidy() RETURNS void LANGUAGE plpgsql AS"
        f" $$BEGIN PERFORM set_config('{name}', 'Asia/Tokyo', false); END$$"
    )
    answer = client.ask("SELECT tidy()")
    report = f"{name}\0Asia/Tokyo\0".encode()
    assert [one.body for one in answer if one.kind == "S"] == [report]
    for _ in range(2):
        assert client.value(f"SHOW {name}") == "Asia/Tokyo"
        assert other.value(f"SHOW {name}") == before
    # Also when it was taken back.
    client.ask("BEGIN")
    client.ask(f"SET {name} = 'Europe/Rome'")
    answer = client.ask("ROLLBACK")
    assert [one.body for one in answer if one.kind == "S"] == [report]
    assert other.value(f"SHOW {name}") == before
    assert client.value(f"SHOW {name}") == "Asia/Tokyo"


def test_d_many_clients_each_with_its_own(pooler: Any) -> None:
    clients = [pooler.raw(**{"app.who": f"c{n}"}) for n in range(12)]
    for n, client in enumerate(clients):
        client.ask(f"SET app.number = '{n}'")
    for _ in range(3):
        for n, client in enumerate(clients):
            sql = "SELECT current_setting('app.who') || current_setting('app.number')"
            assert client.value(sql) == f"c{n}{n}"
    assert pooler.raw().value("SELECT coalesce(current_setting('app.who', true), '')") == ""


@pytest.mark.parametrize(
    "sql", ["RESET ALL", "DISCARD ALL", "RESET timezone", "SET timezone TO DEFAULT"]
)
@pytest.mark.parametrize("name", ["", "r"])
def test_d6_reset_by_the_extended_protocol(single: Any, sql: str, name: str) -> None:
    """PostgreSQL answers no step before it is asked for: whoever waited for one hung."""
    client, other = single.raw(TimeZone="Asia/Tokyo"), single.raw()
    if name:
        client.send(pgwire.parse(sql, name), pgwire.sync())
        assert kinds(client.until("Z")) == "1Z"
    client.ask("SET timezone = 'Europe/Rome'")
    parts = [] if name else [pgwire.parse(sql)]
    parts += [pgwire.bind(name), pgwire.describe(kind=b"P"), pgwire.execute(), pgwire.sync()]
    client.send(*parts)
    answer = client.until("Z")
    assert "E" not in kinds(answer), answer
    for _ in range(2):
        assert client.value("SHOW timezone") == "Asia/Tokyo"
        assert other.value("SHOW timezone") == "UTC"


def test_d6_reset_in_psycopgs_pipeline(single: Any) -> None:
    words = {"client_encoding": "utf8", "options": "-c timezone=Asia/Tokyo"}
    client = single.connect(autocommit=True, **words)
    with client.pipeline():
        client.execute("RESET ALL")
        found = client.execute("SELECT 7")
    assert found.fetchone() == (7,)
    assert client.execute("SHOW timezone").fetchone() == ("Asia/Tokyo",)


@pytest.mark.pooled
def test_e2_a_client_that_leaves_while_its_bytes_wait_is_noticed(single: Any) -> None:
    client, other = single.stranger(), single.raw()
    client.start(user="site", database=single.dbname, TimeZone="Asia/Tokyo")
    client.send(pgwire.query("RESET timezone; SELECT pg_sleep(600)"), pgwire.query("SELECT 1"))
    single.running("pg_sleep")
    client.close()
    single.no_longer_running("pg_sleep")
    assert other.value("SELECT 7") == "7"


@pytest.mark.parametrize("sql", ["RESET TimeZone", "RESET ALL", "SET TIME ZONE DEFAULT",
                                 "SET search_path = x; RESET TIMEZONE; RESET search_path"])
def test_d6_statements_behind_a_reset_find_the_clients_own_start(single: Any, sql: str) -> None:
    client, other = single.raw(TimeZone="Asia/Tokyo"), single.raw()
    client.ask("SET timezone = 'Europe/Rome'")
    answer = client.ask(f"SELECT 'é'; {sql}; SHOW timezone; SELECT 2")
    assert [m.values[0] for m in answer if m.kind == "D"] == ["é".encode(), b"Asia/Tokyo", b"2"]
    assert client.value("SHOW timezone") == "Asia/Tokyo"
    assert other.value("SHOW timezone") == "UTC"
    # A word of ours moves no position.
    text = f"SELECT 'é'; {sql}; SELECT nobody"
    failed = client.ask(text)
    assert failed[-2].fields["P"] == str(text.index("nobody") + 1)


@pytest.mark.parametrize(
    ("sql", "zone"),
    [
        ("RESET ALL; SET timezone = 'Europe/Oslo'", "Europe/Oslo"),
        ("RESET timezone; SELECT 1/0", "Europe/Rome"),
        ("RESET ALL; SELECT 1/0", "Europe/Rome"),
        ("BEGIN; RESET timezone; ROLLBACK; SELECT 1", "Europe/Rome"),
        ("BEGIN; RESET timezone; COMMIT; SELECT 1/0", "Asia/Tokyo"),
        ("SELECT 1; RESET timezone -- at last", "Asia/Tokyo"),
    ],
)
def test_d6_a_reset_among_others_leaves_what_the_server_would(
    single: Any, sql: str, zone: str
) -> None:
    client, other = single.raw(TimeZone="Asia/Tokyo"), single.raw()
    client.ask("SET timezone = 'Europe/Rome'")
    client.ask(sql)
    for _ in range(2):
        assert client.value("SHOW timezone") == zone
        assert other.value("SHOW timezone") == "UTC"


def test_d6_a_reset_that_was_undone_restores_nothing_in_a_pipeline(single: Any) -> None:
    client, other = single.raw(TimeZone="Asia/Tokyo"), single.raw()
    client.ask("SET timezone = 'Europe/Rome'")
    client.send(pgwire.extended("RESET timezone") + pgwire.extended("SELECT 1/0"), pgwire.sync())
    client.until("Z")
    assert client.value("SHOW timezone") == "Europe/Rome"
    assert other.value("SHOW timezone") == "UTC"


@pytest.mark.parametrize("sql", ["RESET TimeZone; SELECT 1", "SET lock_timeout = 5; SELECT 1",
                                 "RESET ALL; SELECT 1", "SELECT 1; SET lock_timeout TO DEFAULT"])
@pytest.mark.pooled
def test_d14_settings_among_other_statements_pin_nobody(single: Any, sql: str) -> None:
    client, other = single.raw(TimeZone="Asia/Tokyo"), single.raw()
    for _ in range(2):
        client.ask(sql)
        assert other.value("SELECT 1") == "1"


FOREIGN = [
    ("SET search_path TO \"größe\"", "SHOW search_path", '"größe"'),
    ("SET my.word = 'größe'", "SHOW my.word", "größe"),
    ("SELECT set_config('my.word', 'größe', false)", "SHOW my.word", "größe"),
    ("SET my.größe = 'ß'", "SHOW my.größe", "ß"),
    ("SELECT set_config('my.größe', 'ß', false)", "SHOW my.größe", "ß"),
]


@pytest.mark.parametrize(("sql", "show", "expected"), FOREIGN)
@pytest.mark.parametrize("encoding", ["LATIN1", "UTF8"])
def test_d2_settings_in_other_letters_are_carried_or_keep_their_server(
    pooler: Any, encoding: str, sql: str, show: str, expected: str
) -> None:
    codec = {"LATIN1": "latin-1", "UTF8": "utf-8"}[encoding]
    client = pooler.raw(client_encoding=encoding)
    others = [pooler.raw(client_encoding=one) for one in ("UTF8", "LATIN1", "EUC_JP")]

    def ask(text: str) -> list[bytes | None]:
        client.send(pgwire.query(text.encode(codec)))
        answer = client.until("Z")
        assert code_of(answer) == ""
        return [column for m in answer if m.kind == "D" for column in m.values]

    ask(sql)
    for _ in range(2):
        assert ask(show) == [expected.encode(codec)]
        for other in others:
            assert other.value("SHOW search_path") == '"$user", public'
            assert other.value("SELECT coalesce(current_setting('my.word', true), '')") == ""


@pytest.mark.parametrize("role", ["chefín", "日本"])
def test_d2_a_role_in_other_letters(single: Any, postgres: Any, role: str) -> None:
    codes = {"chefín": ("LATIN1", "latin-1"), "日本": ("EUC_JP", "euc_jp")}
    encoding, codec = codes[role]
    postgres.rows(f'CREATE ROLE "{role}"')
    postgres.rows(f'GRANT "{role}" TO site')
    try:
        client, other = single.raw(client_encoding=encoding), single.raw()
        client.send(pgwire.query(f'SET ROLE "{role}"'.encode(codec)))
        assert code_of(client.until("Z")) == ""
        for _ in range(2):
            client.send(pgwire.query("SELECT current_user"))
            rows = [m for m in client.until("Z") if m.kind == "D"]
            assert rows[0].values == [role.encode(codec)]
            assert other.value("SELECT current_user") == "site"
    finally:
        postgres.rows(f'DROP ROLE "{role}"')
