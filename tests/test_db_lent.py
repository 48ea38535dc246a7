"""Connections that the pool lends to busy threads of a Django site: they have them while nobody else
needs them, and everything that holds on a pooled connection holds on a lent one.

Leaves the pool's other ways to ``test_db_serve.py``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from canter.lent import LEND, NOT_LENT
from harness.dbsite import facts, is_running, most_connections, where
from harness.operated import PATIENCE, together, until
from harness.postgres import PASSWORD, Postgres, knows_tls
from harness.raw import head
from harness.server import Server

Serve = Callable[..., Server]
Open = Callable[..., tuple[Server, dict[str, Any]]]


@pytest.fixture
def serve(serve_site: Serve, postgres: Postgres, database: str) -> Serve:
    """Start the site with connections that outlive requests, as the test wants it."""

    def start(*flags: str, driver: str = "psycopg", **entry: Any) -> Server:
        default = where(postgres, database, **{"CONN_MAX_AGE": None, **entry})
        return serve_site(*flags, databases={"default": default}, driver=driver)

    return start


@pytest.fixture
def open_to_others(serve: Serve, database: str, tmp_path: Path) -> Open:
    """Start it with a door for other programs; how these reach its database."""

    def start(*flags: str) -> tuple[Server, dict[str, Any]]:
        door = tmp_path / ".s.PGSQL.6432"
        server = serve("--threads", "1", "--bind-postgres", f"unix:{door}", *flags)
        server.wait_log("for other programs")
        return server, {"host": str(tmp_path), "port": 6432, "user": "site", "dbname": database}

    return start


def many(server: Server, count: int) -> Any:
    """So many requests on one connection; what the last one found."""
    found: Any = None
    with server.client() as client:
        for _ in range(count):
            found = json.loads(client.get("/", "Host: localhost").body)
    return found


def busy(server: Server) -> Any:
    """Requests until the thread that answers them has been lent a server."""
    until(lambda: many(server, 40)["lent"], 60, "a lent server")
    return facts(server)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_busy_thread_speaks_with_the_server_itself(
    serve: Serve, postgres: Postgres, database: str, driver: str
) -> None:
    server = serve("--threads", "1", driver=driver)
    found = busy(server)
    assert found["driver"] == driver and found["database"] == database
    # The same session goes on, and state stays with it.
    facts(server, "/setting/")
    assert facts(server, "/timeout/") == {"timeout": "1234ms", "opened": 1}
    assert facts(server, "/iterate/") == {"total": 5000 * 5001 // 2}
    assert found["backend"] in [pid for pid, _, _ in postgres.backends(database)]


def test_few_requests_are_lent_nothing(serve: Serve) -> None:
    server = serve("--threads", "1")
    assert not many(server, 10)["lent"]


@pytest.mark.parametrize(
    ("flags", "entry"),
    [
        (("--db-lend=false",), {}),
        (("--db-connections", "3"), {}),
        (("--db-query-timeout", "20s"), {}),
        ((), {"CONN_MAX_AGE": 0}),
        # Only the pool puts it back after RESET.
        ((), {"OPTIONS": {"options": "-c statement_timeout=5000"}}),
        # What the client has prepared by name is known under another name on the server.
        ((), {"OPTIONS": {"server_side_binding": True, "prepare_threshold": 1}}),
    ],
)
def test_where_none_may_be_lent_all_goes_through_the_pool(
    serve: Serve, flags: tuple[str, ...], entry: dict[str, Any]
) -> None:
    server = serve("--threads", "1", *flags, **entry)
    started = time.monotonic()
    # Long enough to be asked for.
    while time.monotonic() - started < 1.2:
        assert not many(server, 100)["lent"]


def test_who_has_changed_the_session_is_lent_nothing(serve: Serve) -> None:
    server = serve("--threads", "1")
    facts(server, "/setting/")
    started = time.monotonic()
    while time.monotonic() - started < 1.2:
        assert not many(server, 100)["lent"]
    assert facts(server, "/timeout/") == {"timeout": "1234ms", "opened": 1}


@pytest.mark.skipif(not knows_tls(), reason="this PostgreSQL was built without TLS")
def test_a_connection_in_tls_is_not_lent(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    postgres.admin.execute(f"GRANT ALL ON DATABASE {database} TO by_scram")
    options = {"sslmode": "require"}
    server = serve(
        "--threads", "1", HOST="127.0.0.1", USER="by_scram", PASSWORD=PASSWORD, OPTIONS=options
    )
    assert not many(server, 400)["lent"]


def test_a_client_that_leaves_takes_its_query_along(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    server = serve("--threads", "1")
    busy(server)
    with server.client() as client:
        client.send(head("GET", "/sleep/60/", "Host: localhost"))
        until(lambda: is_running(postgres, database, "pg_sleep"))
    until(lambda: not is_running(postgres, database, "pg_sleep"), what="cancelled")
    assert facts(server)["database"] == database


@pytest.mark.parametrize("how", ["sql", "atomic", "autocommit"])
def test_a_transaction_that_a_view_leaves_open_is_rolled_back(
    serve: Serve, postgres: Postgres, database: str, how: str
) -> None:
    server = serve("--threads", "1")
    busy(server)
    facts(server, f"/begin/{how}/")
    until(
        lambda: all(state == "idle" for _, state, _ in postgres.backends(database)),
        what=f"no transaction: {postgres.backends(database)}",
    )
    assert facts(server)["database"] == database


def test_a_lent_server_is_given_back_when_somebody_waits(
    open_to_others: Open, postgres: Postgres, database: str
) -> None:
    server, way = open_to_others("--db-connections", "4")
    busy(server)

    def transaction() -> psycopg.Connection[Any]:
        connection = psycopg.connect(**way)
        connection.execute("SELECT 1")
        return connection

    # The thread has no request while the fourth waits.
    waits = time.monotonic()
    others = [transaction() for _ in range(4)]
    assert time.monotonic() - waits < 15
    assert len(postgres.backends(database)) == 4
    for other in others:
        other.close()
    assert not many(server, 100)["lent"], "nothing is lent for a while after that"


def test_an_administrator_who_pauses_the_pool_does_not_wait_for_a_lent_server(
    open_to_others: Open, postgres: Postgres, database: str
) -> None:
    server, way = open_to_others()
    busy(server)
    with psycopg.connect(**{**way, "dbname": "pgbouncer"}, autocommit=True) as console:
        console.execute("PAUSE")
        assert postgres.backends(database) == []
        console.execute("RESUME")
    assert facts(server)["database"] == database


def test_a_client_that_is_killed_is_told_and_its_thread_goes_on(
    open_to_others: Open, postgres: Postgres, database: str
) -> None:
    server, way = open_to_others()
    found = busy(server)
    with psycopg.connect(**{**way, "dbname": "pgbouncer"}, autocommit=True) as console:
        console.execute("KILL")
        until(
            lambda: found["backend"] not in [pid for pid, _, _ in postgres.backends(database)],
            what="the server's end",
        )
        console.execute("RESUME")
    assert facts(server)["database"] == database


def test_only_the_private_door_lends_and_not_to_who_asks_seldom(
    open_to_others: Open,
) -> None:
    server, outside = open_to_others()
    private = facts(server)["host"]
    number = next(Path(private).glob(".s.PGSQL.*")).suffix[1:]
    for way, answer in [(outside, b"E"), ({**outside, "host": private, "port": number}, NOT_LENT)]:
        with psycopg.connect(**way, autocommit=True) as connection:
            connection.execute("SELECT 1")
            raw = socket.socket(fileno=os.dup(connection.fileno()))
            with raw:
                raw.settimeout(PATIENCE)
                raw.sendall(LEND)
                assert raw.recv(len(answer)) == answer


def test_threads_that_share_few_connections_never_open_more(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    server = serve("--db-connections", "4", "--threads", "8", "--threads-min", "8")

    def ask() -> None:
        for _ in range(3):
            together([lambda: many(server, 60)] * 2)
            together([lambda: facts(server, "/sleep/0.2/")] * 8)

    assert most_connections(postgres, database, ask) == 4


def test_a_server_that_was_ended_costs_no_request(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    server = serve("--threads", "1")
    found = busy(server)
    postgres.admin.execute(f"SELECT pg_terminate_backend({found['backend']})")
    until(lambda: found["backend"] not in [pid for pid, _, _ in postgres.backends(database)])
    again = facts(server)
    assert again["database"] == database and again["backend"] != found["backend"]


def test_a_worker_that_is_killed_leaves_no_server_behind(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    server = serve("--threads", "1")
    found = busy(server)
    with server.client() as client:
        client.send(head("GET", "/sleep/60/", "Host: localhost"))
        until(lambda: is_running(postgres, database, "pg_sleep"))
        os.kill(server.named("worker")[0], signal.SIGKILL)
        until(
            lambda: found["backend"] not in [pid for pid, _, _ in postgres.backends(database)],
            what="the server's end",
        )
    until(lambda: bool(server.named("worker")), what="another worker")
    assert facts(server)["database"] == database


def test_a_reload_and_the_end_leave_no_server_behind(
    serve: Serve, postgres: Postgres, database: str
) -> None:
    server = serve("--threads", "1")
    found = busy(server)
    old = server.named("worker")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: server.named("worker") not in ([], old), what="another worker")
    until(
        lambda: found["backend"] not in [pid for pid, _, _ in postgres.backends(database)],
        what="the server's end",
    )
    busy(server)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 15
    until(lambda: not postgres.backends(database), what="no connection")
