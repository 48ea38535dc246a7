"""A Django site on PostgreSQL under ``canter serve``: nothing in its settings speaks of the pool,
and everything works as on direct connections, with few of them.

Leaves the pooler itself to ``tests/pooler``.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from harness.dbsite import environment, facts, is_running, most_connections, where
from harness.operated import PATIENCE, run_canter, together, until
from harness.pooler import url_of
from harness.postgres import PASSWORD, Postgres, knows_tls
from harness.raw import head
from harness.server import Server

Serve = Callable[..., Server]


@pytest.fixture
def serve(serve_site: Serve) -> Serve:
    """Start the site as the test wants it."""
    return serve_site


def is_pooled(found: Any) -> bool:
    return "/canter-pool-" in found["host"]


# --- set-up that nobody does


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_site_with_a_database_url_is_pooled(serve: Serve, database: str, driver: str) -> None:
    server = serve(driver=driver)
    found = facts(server)
    assert is_pooled(found) and found["driver"] == driver
    assert (found["database"], found["user"], found["zone"]) == (database, "site", "UTC")
    assert facts(server, "/iterate/") == {"total": 5000 * 5001 // 2}


def test_one_line_says_what_was_done_and_how_to_switch_it_off(serve: Serve) -> None:
    server = serve("--db-connections", "7")
    lines = [line for line in server.log.splitlines() if "through the pool" in line]
    assert len(lines) == 1
    for part in ("databases=default", "7 connections, as set", "--db-pool off"):
        assert part in lines[0]


def test_django_sends_nothing_when_it_connects(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    postgres.admin.execute(f"ALTER DATABASE {database} SET log_statement = 'all'")
    server = serve()
    # With the first connection the pool asks the server how many it may open.
    facts(server)
    assert "set_config('TimeZone'" not in postgres.log
    before = len(postgres.log)
    for _ in range(3):
        facts(server)
    said = [line for line in postgres.log[before:].splitlines() if " LOG:  " in line]
    statements = [line for line in said if "statement: " in line or "execute " in line]
    assert len(statements) == 3, statements
    assert all("SELECT pg_backend_pid()" in line for line in statements)


def test_several_databases_are_pooled_each(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    with postgres.database() as other, postgres.role() as role:
        databases = {
            "default": where(postgres, database),
            "other": where(postgres, other, USER=role),
            "lite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        }
        server = serve("--db-connections", "2", databases=databases)
        server.wait_log('databases="default, other"')
        assert facts(server, "/at/other/")["user"] == role
        assert facts(server, "/at/other/")["database"] == other
        assert facts(server)["database"] == database
        assert facts(server, "/at/lite/") == {"vendor": "sqlite", "answer": 42}


@pytest.mark.parametrize("mode", ["prefer", "disable"])
def test_a_password_and_options_are_taken_over(
    serve: Serve, postgres: Postgres, database: str, mode: str
) -> None:
    postgres.admin.execute(f"GRANT ALL ON DATABASE {database} TO by_scram")
    options = {"sslmode": mode, "options": "-c search_path=one,two", "application_name": "shop"}
    entry = where(
        postgres, database, USER="by_scram", PASSWORD=PASSWORD, HOST="127.0.0.1", OPTIONS=options
    )
    found = facts(serve(databases={"default": entry}))
    assert is_pooled(found)
    assert (found["user"], found["path"], found["application"]) == ("by_scram", "one,two", "shop")


@pytest.mark.parametrize("conn_max_age", [0, 600, None])
def test_a_project_with_dj_database_url_is_pooled(
    serve: Serve, postgres: Postgres, database: str, conn_max_age: int | None
) -> None:
    words = {"conn_max_age": conn_max_age, "conn_health_checks": True}
    url = f"postgres://by_scram:{quote(PASSWORD, safe='')}@127.0.0.1:{postgres.port}/{database}"
    server = serve("--db-connections", "1", dj=words, env={"DATABASE_URL": url})
    for _ in range(2):
        found = facts(server)
        assert is_pooled(found) and not found["lent"]
        assert (found["user"], found["database"]) == ("by_scram", database)
    assert len(postgres.backends(database)) == 1
    server.wait_log("databases=default ")


@pytest.mark.skipif(not knows_tls(), reason="this PostgreSQL was built without TLS")
def test_ssl_require_of_dj_database_url_is_for_the_way_to_the_server(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    words = {"conn_max_age": 600, "ssl_require": True}
    url = f"postgres://by_tls@127.0.0.1:{postgres.port}/{database}"
    found = facts(serve("--db-connections", "1", dj=words, env={"DATABASE_URL": url}))
    # This role is let in over TLS alone.
    assert is_pooled(found) and found["user"] == "by_tls"
    sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'by_tls'"
    assert postgres.rows(sql) == [(True,)]


def test_a_service_and_a_password_file_lead_there(
    serve: Serve, postgres: Postgres, database: str, tmp_path: Path
) -> None:
    (tmp_path / ".pg_service.conf").write_text(
        f"[shop]\nhost=127.0.0.1\nport={postgres.port}\ndbname={database}\nuser=by_scram\n"
    )
    (tmp_path / ".pgpass").write_text(f"*:*:*:by_scram:{PASSWORD}\n")
    (tmp_path / ".pgpass").chmod(0o600)
    entry = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {"service": "shop"}}
    found = facts(serve(databases={"default": entry}))
    assert is_pooled(found) and (found["user"], found["database"]) == ("by_scram", database)


def test_variables_of_libpq_lead_there(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    env = {
        "PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "by_scram",
        "PGPASSWORD": PASSWORD, "PGSSLMODE": "prefer", "PGCHANNELBINDING": "prefer",
        "PGREQUIREAUTH": "scram-sha-256",
    }  # fmt: skip
    entry = {"ENGINE": "django.db.backends.postgresql", "NAME": database}
    found = facts(serve(databases={"default": entry}, env=env))
    assert is_pooled(found) and found["user"] == "by_scram"


def test_an_assumed_role_is_that_of_each_request(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    postgres.admin.execute("GRANT guest TO site")
    databases = {
        "default": where(postgres, database, OPTIONS={"assume_role": "guest"}),
        "other": where(postgres, database),
    }
    server = serve("--db-connections", "1", databases=databases)
    for _ in range(3):
        assert facts(server)["user"] == "guest"
        assert facts(server, "/at/other/")["user"] == "site"


def test_a_pool_of_djangos_own_gives_way(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    # One connection and no patience: with a pool of its own, all but one would fail.
    options = {"pool": {"min_size": 1, "max_size": 1, "timeout": 0.01}}
    entry = where(postgres, database, OPTIONS=options)
    server = serve("--threads", "8", "--threads-min", "8", databases={"default": entry})
    together([lambda: facts(server, "/sleep/0.3/")] * 8)
    assert is_pooled(facts(server))


def test_what_the_pool_cannot_do_goes_straight_to_the_server_and_says_so(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    entry = where(postgres, database, OPTIONS={"requirepeer": ""})
    direct = where(postgres, database, OPTIONS={"gssencmode": "disable", "sslcrldir": "/"})
    server = serve(databases={"default": entry, "other": direct})
    # The start says which, before anybody has asked.
    server.wait_log("databases=default ")
    assert "'other' is reached without the pool: sslcrldir" in server.log
    assert is_pooled(facts(server))
    assert not is_pooled(facts(server, "/at/other/"))
    server.wait_log("'other' is reached without the pool: sslcrldir")


def test_the_pool_can_be_switched_off(serve: Serve, postgres: Postgres) -> None:
    server = serve("--db-pool", "off")
    assert facts(server)["host"] == str(postgres.folder)
    assert "through the pool" not in server.log


def test_a_site_without_postgresql_has_no_pool_in_its_log(serve: Serve) -> None:
    databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    server = serve(databases=databases, env={"DATABASE_URL": "sqlite://:memory:"})
    assert facts(server) == {"vendor": "sqlite", "answer": 42}
    assert "pool" not in server.log


def test_other_python_code_finds_the_pool(serve: Serve, database: str) -> None:
    assert facts(serve(), "/plain/") == {"database": database, "user": "site"}


def test_the_folder_of_the_socket_is_closed_to_others_and_goes_at_the_end(serve: Serve) -> None:
    server = serve()
    folder = Path(facts(server)["host"])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert server.stop() == 0
    assert not folder.exists()


# --- few connections


def test_many_threads_share_the_connections_that_were_allowed(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    server = serve("--db-connections", "3", "--threads", "50", "--threads-min", "50")

    def ask() -> None:
        together([lambda: facts(server, "/sleep/0.05/")] * 100)

    assert most_connections(postgres, database, ask) == 3


def test_a_wait_that_is_too_long_is_an_error_that_names_who_has_the_connections(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    server = serve("--db-connections", "1", "--db-wait-timeout", "1500ms", "--threads-min", "2")
    with server.client() as client:
        client.send(head("GET", "/sleep/60/", "Host: localhost"))
        until(lambda: is_running(postgres, database, "pg_sleep"))
        error = facts(server, "/trouble/")["error"]
        assert "within 1.5 s" in error and "1 of 1 connections in use" in error, error
        assert "pg_sleep" in error


# --- requests that end


def test_a_client_that_leaves_takes_its_query_along(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    server = serve()
    with server.client() as client:
        client.send(head("GET", "/sleep/60/", "Host: localhost"))
        until(lambda: is_running(postgres, database, "pg_sleep"))
    until(lambda: not is_running(postgres, database, "pg_sleep"), what="cancelled")
    facts(server)


def test_a_deadline_takes_its_query_along(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    server = serve("--timeout", "3s")
    facts(server, "/sleep/60/", status=504)
    until(lambda: not is_running(postgres, database, "pg_sleep"), what="cancelled")
    facts(server)


def test_the_query_of_another_request_goes_on_when_a_client_leaves(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    server = serve("--threads-min", "4")

    def stay() -> None:
        facts(server, "/sleep/1.5/")

    def leave() -> None:
        with server.client() as client:
            client.send(head("GET", "/sleep/60/", "Host: localhost"))
            until(lambda: is_running(postgres, database, "60"))

    together([stay, stay, leave])
    until(lambda: not is_running(postgres, database, "60"), what="cancelled")


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
@pytest.mark.parametrize("how", ["sql", "atomic", "autocommit"])
@pytest.mark.parametrize("age", [0, None])
def test_a_transaction_that_a_view_leaves_open_is_rolled_back(
    serve: Serve, postgres: Postgres, database: str, driver: str, how: str, age: int | None
) -> None:
    databases = {"default": where(postgres, database, CONN_MAX_AGE=age)}
    server = serve("--threads", "1", databases=databases, driver=driver)
    facts(server, f"/begin/{how}/")
    until(
        lambda: all(state == "idle" for _, state, _ in postgres.backends(database)),
        what=f"no transaction: {postgres.backends(database)}",
    )
    # The thread is fit for the next request.
    assert facts(server)["database"] == database
    assert facts(server, "/iterate/")["total"] > 0


# --- processes that end


def test_a_request_within_a_request_ends_nothing_of_the_outer_one(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    """Django's test client in a view sends the signals of a request of its own."""
    with postgres.connect(dbname=database, user="site") as admin:
        admin.execute("CREATE TABLE notes (n int)")
    server = serve("--threads", "1")
    for _ in range(2):
        facts(server, "/nested/")
    assert facts(server, "/port/")["notes"] == 4
    assert "left a transaction open" not in server.log


def test_a_front_that_is_killed_is_replaced_with_its_pool(serve: Serve, database: str) -> None:
    server = serve()
    assert is_pooled(facts(server))
    old = server.named("front")
    os.kill(old[0], signal.SIGKILL)
    until(lambda: server.named("front") not in ([], old), what="another front")

    def answers() -> bool:
        try:
            return bool(facts(server)["database"] == database)
        except (OSError, AssertionError):
            return False

    until(answers, what="an answer")
    assert is_pooled(facts(server))


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_connection_is_kept_while_it_is_as_good_as_new(serve: Serve, driver: str) -> None:
    server = serve("--threads", "1", driver=driver)
    assert [facts(server, "/opened/")["opened"] for _ in range(5)] == [1] * 5
    facts(server, "/setting/")
    # As without the pool: the next request has a session of its own.
    assert facts(server, "/timeout/") == {"timeout": "0", "opened": 2}
    facts(server, "/iterate/")
    assert facts(server, "/opened/")["opened"] == 3
    assert facts(server, "/opened/")["opened"] == 3


def test_a_project_that_keeps_connections_itself_keeps_their_state(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    databases = {"default": where(postgres, database, CONN_MAX_AGE=None)}
    server = serve("--threads", "1", databases=databases)
    facts(server, "/setting/")
    assert facts(server, "/timeout/") == {"timeout": "1234ms", "opened": 1}


def test_at_the_end_no_connection_is_left(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    server = serve(databases={"default": where(postgres, database, CONN_MAX_AGE=None)})
    facts(server)
    assert postgres.backends(database)
    assert server.stop() == 0
    until(lambda: not postgres.backends(database), what="no connection")


# --- replicas


def set_cookie(response: Any) -> str:
    """The cookie that an answer sets, as a request sends it back; empty without one."""
    cookies = [value for name, value in response.fields if name.lower() == "set-cookie"]
    assert len(cookies) <= 1
    return cookies[0].partition(";")[0] if cookies else ""


@pytest.fixture
def replicated(
    serve: Serve, postgres: Postgres, database: str
) -> Iterator[tuple[Server, Postgres]]:
    """A site with a replica, which reads there."""
    with postgres.connect(dbname=database, user="site") as admin:
        admin.execute("CREATE TABLE notes (n int)")
    with postgres.standby() as replica:
        flags = ("--db-replica-max-lag", "1h", "--db-connections", "4")
        server = serve(*flags, "--db-replica", url_of(replica, database))
        # A replica that has replayed no transaction yet cannot tell how old its state is.
        with postgres.connect(dbname=database, user="site") as admin:
            admin.execute("CREATE TABLE later (n int)")
        there = "SELECT pg_last_xact_replay_timestamp() IS NOT NULL"
        until(lambda: replica.value(there), what="a transaction there")
        until(lambda: ask(server, "/port/")[0]["port"] == replica.port, what="a read there")
        yield server, replica


def ask(server: Server, path: str, cookie: str = "") -> tuple[Any, str]:
    """What a visitor sees, and the cookie set."""
    with server.client() as client:
        fields = [f"Cookie: theme=dark; {cookie}"] if cookie else []
        response = client.get(path, "Host: localhost", *fields)
    assert response.status == 200, f"{response.body!r}\n{server.log}"
    return json.loads(response.body), set_cookie(response)


def test_h4_a_visitor_sees_what_he_wrote_and_only_he_gets_a_cookie(
    replicated: tuple[Server, Postgres], postgres: Postgres
) -> None:
    server, replica = replicated
    replica.rows("SELECT pg_wal_replay_pause()")
    paused = "SELECT pg_get_wal_replay_pause_state() = 'paused'"
    until(lambda: replica.value(paused), what="the replay to pause")
    found, cookie = ask(server, "/write/")
    assert found == {"port": postgres.port, "notes": 1}
    assert cookie.startswith("canter_wrote=")
    for _ in range(10):
        # On whatever thread and connection: what he wrote is there.
        assert ask(server, "/port/", cookie) == (found, "")
        assert ask(server, "/port/") == ({"port": replica.port, "notes": 0}, "")
    # What nobody signed counts for nothing.
    forged = cookie[:-1] + ("A" if cookie[-1] != "A" else "B")
    assert ask(server, "/port/", forged)[0]["port"] == replica.port
    # Another front knows it as well.
    os.kill(server.one("front"), signal.SIGKILL)
    server.wait_log("worker is ready", times=2)
    until(lambda: ask(server, "/port/")[0]["port"] == replica.port, what="a read there again")
    assert ask(server, "/port/", cookie)[0] == found
    replica.rows("SELECT pg_wal_replay_resume()")
    there = {"port": replica.port, "notes": 1}
    until(lambda: ask(server, "/port/", cookie)[0] == there, what="the write to be there")


def test_h5_a_site_does_not_notice_that_its_replica_went_away(
    replicated: tuple[Server, Postgres], postgres: Postgres
) -> None:
    server, replica = replicated
    replica.stop(kill=True)
    for _ in range(10):
        assert ask(server, "/port/")[0]["port"] == postgres.port
    replica.start(replica.port)
    until(lambda: ask(server, "/port/")[0]["port"] == replica.port, what="a read there again")


def test_replicas_without_the_pool_are_refused(tmp_path: Path, postgres: Postgres) -> None:
    url = url_of(postgres, "postgres")
    words = ("serve", "app", "--db-pool", "off", "--db-replica", url, "--database-url", url)
    done = run_canter(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "reads go to replicas through the pool, and it is off" in done.stderr


def test_d7_a_site_whose_database_is_gone_is_not_ready_until_it_is_back(tmp_path: Path) -> None:
    with Postgres.running() as postgres, postgres.database() as database:
        env = environment(postgres, database, tmp_path)
        # Nobody is held for longer than the test wants to wait.
        flags = ("--health", "--db-wait-timeout", "1s")
        with Server(tmp_path / "site", "dbsite", *flags, env=env) as server, server.client() as probe:

            def is_ready() -> bool:
                return probe.get("/-/ready").status == 200

            assert is_ready(), "nothing was tried yet"
            assert is_pooled(facts(server))
            assert is_ready()
            port = postgres.port
            postgres.stop(kill=True)
            facts(server, status=500)
            response = probe.get("/-/ready")
            assert response.status == 503 and b"no connection to the database" in response.body
            assert probe.get("/-/live").status == 200
            postgres.start(port)
            # No request to the app is needed: a balancer would send none.
            until(is_ready, PATIENCE, "the database to be found again")
            assert is_pooled(facts(server))
