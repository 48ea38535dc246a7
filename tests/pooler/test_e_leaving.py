"""Owns E1 to E8: clients that leave, servers that die, and who hears of it.

Leaves deaths at random points, thousands of them, to ``test_deaths``.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from harness import pgwire
from harness.operated import until
from harness.pgwire import Fake, FakeServer, Message, code_of, kinds

PID = "SELECT pg_backend_pid()"


def told(client: pgwire.Client) -> str:
    """The SQLSTATE a client hears when its server is gone: in a FATAL and a closed connection, as
    from PostgreSQL, or in an ERROR after which it may go on."""
    found: list[Message] = []
    while not found or found[-1].kind != "Z":
        try:
            found.append(client.receive())
        except pgwire.Closed:
            break
    return code_of(found)


def one_usable_server(way: Any, pid: str | None = None) -> None:
    """Nothing runs, no transaction is open, and the server works for the next client."""
    way.settled()
    client = way.raw()
    now = client.value(PID)
    if pid is not None:
        assert now == pid, "the server was closed and not used again"
    assert client.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"
    client.close()


@pytest.mark.parametrize("politely", [True, False])
def test_e1_an_open_transaction_is_rolled_back_and_its_server_used_again(
    single: Any, politely: bool
) -> None:
    client = single.raw()
    pid = client.value(PID)
    client.ask("CREATE TABLE e1 (n int)")
    client.ask("BEGIN; INSERT INTO e1 VALUES (1); SELECT pg_advisory_xact_lock(1)")
    if politely:
        client.send(pgwire.terminate())
    client.close()
    one_usable_server(single, pid if hasattr(single, "pid") else None)
    assert single.raw().value("SELECT count(*) FROM e1") == "0"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_e2_a_client_that_vanishes_in_a_query_has_it_cancelled(single: Any, how: str) -> None:
    client = single.raw_tcp() if how == "reset" and hasattr(single, "pid") else single.stranger()
    client.start(user="site", database=single.dbname)
    client.send(pgwire.query("SELECT pg_sleep(600)"))
    single.running("pg_sleep")
    client.reset() if how == "reset" else client.close()
    if not hasattr(single, "pid"):
        single.postgres.value("SELECT pg_terminate_backend(%s)", single.running("pg_sleep"))
    single.no_longer_running("pg_sleep")
    one_usable_server(single)


def test_e2_what_a_client_sent_before_its_goodbye_is_done(single: Any) -> None:
    """As PostgreSQL does: Terminate is read when the query before it has ended."""
    client, other = single.raw(), single.raw()
    client.ask("CREATE TABLE e2 (n int)")
    client.send(pgwire.query("SELECT pg_sleep(0.2); INSERT INTO e2 VALUES (1)"), pgwire.terminate())
    client.close()
    until(lambda: other.value("SELECT count(*) FROM e2") == "1", what="the insert")
    one_usable_server(single)


@pytest.mark.pooled
def test_e2_what_a_client_sent_before_its_goodbye_is_done_also_after_a_wait(single: Any) -> None:
    admin = single.raw()
    admin.ask("CREATE TABLE e2_waits (n int)")
    admin.ask("BEGIN; SELECT 1")
    with single.raw() as client:
        client.send(pgwire.query("INSERT INTO e2_waits VALUES (1)"), pgwire.terminate())
    admin.ask("COMMIT")
    until(lambda: admin.value("SELECT count(*) FROM e2_waits") == "1", what="the row")


def test_e2_a_query_that_ends_at_the_same_time_does_no_harm(single: Any) -> None:
    for _ in range(30):
        client = single.raw()
        client.send(pgwire.query("SELECT pg_sleep(0.001)"))
        client.close()
        other = single.raw()
        assert kinds(other.ask("SELECT 1")) == "TDCZ", "the cancel hit somebody else"
        other.close()


POINTS = [
    "pipeline",
    "copy in",
    "copy in ahead",
    "copy in ahead, goodbye",
    "copy out",
    "flush",
    "half message",
]


@pytest.mark.pooled
@pytest.mark.parametrize("point", POINTS)
def test_e3_a_client_that_vanishes_in_the_midst(single: Any, point: str) -> None:
    p = pgwire
    client = single.raw()
    client.ask("CREATE TABLE e3 (n int)")
    if point == "pipeline":
        client.send(*[p.extended(f"SELECT {n}") + p.sync() for n in range(50)])
        client.send(p.extended("SELECT pg_sleep(600)"), p.extended("SELECT 1"), p.sync())
        single.running("pg_sleep")
    elif point == "copy in":
        client.send(p.query("COPY e3 FROM STDIN"))
        client.until("G")
        client.send(p.copy_data(b"1\n"))
    elif point.startswith("copy in ahead"):
        # The data comes before the server has said that it wants any.
        goodbye = p.terminate() if "goodbye" in point else b""
        client.send(p.query("COPY e3 FROM STDIN"), p.copy_data(b"1\n"), goodbye)
    elif point == "copy out":
        client.send(p.query("COPY (SELECT generate_series(1, 3000000)) TO STDOUT"))
        client.until("H")
    elif point == "flush":
        client.send(p.extended("SELECT 1"), p.flush())
        client.until("C")
    else:
        client.ask("BEGIN")
        client.send(p.query("INSERT INTO e3 VALUES (1)")[:-3])
    client.close()
    one_usable_server(single)
    assert single.raw().value("SELECT count(*) FROM e3") == "0"


@pytest.mark.pooled
def test_e4_an_idle_transaction_is_ended_after_its_time(start: Any) -> None:
    way = start("--db-idle-in-transaction-timeout", "200ms", connections=1)
    client, other = way.raw(), way.raw()
    client.ask("CREATE TABLE e4 (n int)")
    client.ask("BEGIN; INSERT INTO e4 VALUES (1)")
    assert other.value("SELECT count(*) FROM e4") == "0"
    found = client.rest()
    assert code_of(found) == "25P03"


@pytest.mark.pooled
def test_e4_a_query_that_answers_all_the_time_is_cancelled_after_its_time_too(start: Any) -> None:
    client = start("--db-query-timeout", "3", connections=1).raw()
    sql = "SELECT repeat('x', 9000), pg_sleep(0.1) FROM generate_series(1, 600)"
    answer = client.ask(sql)
    assert code_of(answer) == "57014"
    assert kinds(answer).count("D") < 300
    # Each statement has a time of its own.
    client.ask("BEGIN")
    for _ in range(3):
        assert code_of(client.ask("SELECT pg_sleep(1.2)")) == ""


@pytest.mark.pooled
def test_e4_a_transaction_that_takes_too_long_is_ended(start: Any) -> None:
    way = start("--db-transaction-timeout", "2s", connections=1)
    client, other = way.raw(), way.raw()
    client.ask("CREATE TABLE e4 (n int)")
    client.ask("BEGIN; INSERT INTO e4 VALUES (1)")
    client.send(pgwire.query("SELECT pg_sleep(100)"))
    assert code_of(client.rest()) == "25P04"
    assert other.value("SELECT count(*) FROM e4") == "0"
    way.settled()
    # Queries that follow each other are a transaction each.
    for _ in range(10):
        assert other.value("SELECT pg_sleep(0.3)") == ""


def test_e4_the_servers_own_timeout_is_passed_on(single: Any) -> None:
    client, other = single.raw(), single.raw()
    client.ask("BEGIN")
    client.ask("SELECT 1")
    # The last: from here on nothing the test does has to be quick.
    client.ask("SET idle_in_transaction_session_timeout = 50")
    until(lambda: len(single.backends()) < (1 if hasattr(single, "pid") else 2))
    # PostgreSQL says it at once and closes; who comes later hears it with the next statement.
    client.send(pgwire.query("SELECT 2"))
    assert told(client) == "25P03"
    assert other.value("SELECT 1") == "1"


@pytest.mark.pooled
def test_e5_a_server_that_died_idle_is_noticed_before_it_is_given_out(pooler: Any) -> None:
    clients = [pooler.raw() for _ in range(2)]
    for client in clients:
        client.ask("BEGIN")
    for client in clients:
        client.ask("COMMIT")
    for _ in range(5):
        pooler.postgres.rows(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            pooler.dbname,
        )
        for client in clients:
            assert client.value("SELECT 1") == "1"


@pytest.mark.pooled
def test_e5_a_server_that_dies_in_a_query_is_reported_and_replaced(single: Any) -> None:
    client, other = single.raw(), single.raw()
    client.send(pgwire.query("SELECT pg_sleep(600)"))
    pid = single.running("pg_sleep")
    single.postgres.value("SELECT pg_terminate_backend(%s)", pid)
    assert told(client) == "57P01"
    assert other.value("SELECT 1") == "1"


@pytest.mark.parametrize(
    "tie",
    [
        "LISTEN e5",
        "SELECT pg_advisory_lock(5)",
        "CREATE TEMP TABLE e5 (n int)",
        "PREPARE e5 AS SELECT 1",
        "BEGIN; SELECT pg_advisory_lock(5)",
    ],
)
def test_e5_d10_d11_a_client_whose_state_dies_with_its_server_is_told_and_closed(
    pooler: Any, tie: str
) -> None:
    client = pooler.raw()
    pid = client.value(PID)
    assert code_of(client.ask(tie)) == ""
    pid = client.value(PID)
    pooler.postgres.value("SELECT pg_terminate_backend(%s, 5000)", int(pid))
    heard = client.rest()
    assert code_of(heard) == "57P01"
    fields = next(one for one in heard if one.kind == "E").body
    assert b"SFATAL\0" in fields
    assert pooler.raw().value("SELECT 1") == "1"


@pytest.mark.pooled
@pytest.mark.parametrize("asked", ["simple", "extended", "in transaction"])
def test_e5_a_server_that_vanishes_without_a_word(start: Any, asked: str) -> None:
    deaths: list[int] = []

    def script(fake: Fake) -> None:
        fake.welcome()

        def answer(message: Message) -> bytes | None:
            if b"die" in message.body:
                deaths.append(1)
                return None
            if b"BEGIN" in message.body:
                return pgwire.command_complete("BEGIN") + pgwire.ready(b"T")
            return {"Q": pgwire.one_row(), "S": pgwire.ready()}.get(message.kind, b"")

        fake.serve(answer)

    with FakeServer(script) as fake:
        way = start(connections=1, url=fake.url(), dbname="fake")
        client = way.raw()
        if asked == "in transaction":
            client.ask("BEGIN")
        sent = pgwire.query("die") if asked != "extended" else pgwire.extended("die")
        client.send(sent, b"" if asked != "extended" else pgwire.sync())
        assert told(client)[:2] in ("08", "57")
        assert sum(deaths) == 1, "what was sent was sent again"
        assert way.raw().value("SELECT 1") == "1"


@pytest.mark.pooled
def test_e6_clients_are_held_while_the_server_starts(start: Any) -> None:
    """57P03 twice, then it is there."""
    tries: list[int] = []

    def script(fake: Fake) -> None:
        fake.receive_startup()
        tries.append(1)
        if len(tries) < 3:
            fake.send(pgwire.error("57P03", "the database system is starting up", "FATAL"))
            return
        fake.send(pgwire.GREETING)
        fake.serve(lambda asked: pgwire.one_row() if asked.kind == "Q" else b"")

    with FakeServer(script) as fake:
        way = start(connections=1, url=fake.url(), dbname="fake")
        client = way.raw()
        assert client.value("SELECT 1") == "1"
        assert len(tries) == 3


@pytest.mark.pooled
def test_e6_a_restart_of_the_server_is_survived(start: Any, postgres: Any, database: str) -> None:
    """A stand-in that is down for a while: the port refuses connections."""
    first = FakeServer(pgwire.answers(b"before"))
    with first as fake:
        way = start(connections=2, url=fake.url(), dbname="fake")
        client = way.raw()
        assert client.value("SELECT 1") == "before"
    client.send(pgwire.query("SELECT 1"))
    assert client.is_silent(0.1)
    with FakeServer(pgwire.answers(b"after"), first.port):
        assert client.until("Z")[1].values == [b"after"]


@pytest.mark.pooled
def test_e7_a_second_host_takes_over_from_one_that_is_down(start: Any) -> None:
    down, up = FakeServer(pgwire.answers(b"a")), FakeServer(pgwire.answers(b"b"))
    with up:
        with down:
            url = f"postgresql://site@127.0.0.1:{down.port},127.0.0.1:{up.port}/fake"
            way = start(connections=1, url=f"{url}?sslmode=disable", dbname="fake")
            client = way.raw()
            assert client.value("SELECT 1") == "a"
        # Its connections broke and nobody listens there now.
        assert client.value("SELECT 1") == "b"


@pytest.mark.pooled
def test_e8_a_password_that_was_changed_is_no_ban_for_ever(
    start: Any, postgres: Any, database: str
) -> None:
    with postgres.role("LOGIN PASSWORD 'old'") as role:
        postgres.admin.execute("SET password_encryption = 'scram-sha-256'")
        host = f"127.0.0.1:{postgres.port}"
        hba = postgres.data / "pg_hba.conf"
        before = hba.read_text()
        hba.write_text(f"host all {role} samehost password\n{before}")
        postgres.rows("SELECT pg_reload_conf()")
        try:
            way = start(connections=1, url=f"postgresql://{role}:new@{host}/{database}")
            client = way.stranger()
            found = client.start(user=role, database=database)
            if found[-1].kind == "Z":
                found = client.ask("SELECT 1")
            assert code_of(found) == "28P01"
            postgres.admin.execute(f"ALTER ROLE {role} PASSWORD 'new'")

            def works() -> bool:
                try:
                    return bool(way.connect(user=role).execute("SELECT 1").fetchone())
                except psycopg.Error:
                    return False

            until(works, what="the new password to be tried")
        finally:
            hba.write_text(before)
            postgres.rows("SELECT pg_reload_conf()")
