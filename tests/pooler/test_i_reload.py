"""Owns I2, a reload of ``canter pool`` by its console and by SIGHUP, and the limits that PgBouncer's
users expect: servers kept open without use, clients that are idle or too many.

Leaves the console's other commands to ``test_i_console``.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from harness import pgwire
from harness.operated import until
from harness.pgwire import Client, code_of
from harness.pooler import url_of

pytestmark = pytest.mark.pooled

UNNAMED = {"DATABASE_URL": ""}
"""The database is named in the file, which the variable would overrule."""


def command(way: Any, text: str) -> list[tuple[Any, ...]]:
    """Say it on the console."""
    with way.connect(dbname="pgbouncer") as admin:
        done = admin.execute(text)
        return done.fetchall() if done.description else []


def by_console(way: Any) -> None:
    command(way, "RELOAD")


def by_signal(way: Any) -> None:
    count = way.log.count("reloaded")
    way.process.send_signal(signal.SIGHUP)
    until(lambda: way.log.count("reloaded") > count, what="the reload")


BOTH = pytest.mark.parametrize("reload", [by_console, by_signal])
Reload = Callable[[Any], None]


class Options:
    """A ``canter.toml`` that changes while the pooler runs."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        self.write()

    def write(self, *lines: str, url: str | None = None) -> None:
        self.path.write_text("\n".join([f'database_url = "{url or self.url}"', *lines, ""]))


@pytest.fixture
def options(tmp_path: Path, start: Any) -> Options:
    return Options(tmp_path / "canter.toml", url_of(start.postgres, start.database))


@pytest.fixture
def way(start: Any, options: Options) -> Any:
    options.write("db_connections = 1")
    return start("--config", str(options.path), connections=None, env=UNNAMED)


def config(way: Any, key: str) -> str:
    found: dict[str, str] = {row[0]: row[1] for row in command(way, "SHOW CONFIG")}
    return found[key]


@BOTH
def test_i2_a_reload_takes_limits_over_and_keeps_connections(
    way: Any, options: Options, reload: Reload
) -> None:
    with way.connect(autocommit=False) as busy, way.connect() as other:
        busy.execute("SELECT 1")
        before = way.pids()
        command(way, "SET query_wait_timeout = 7")
        options.write("db_connections = 2", 'db_wait_timeout = "9s"', "db_max_clients = 77")
        reload(way)
        other.execute("SELECT 1")
        assert before < way.pids()
        assert len(way.pids()) == 2
        assert config(way, "query_wait_timeout") == "9"
        assert config(way, "max_client_conn") == "77"
        assert config(way, "max_db_connections") == "2"
        command(way, "SET max_prepared_statements = 9")
        options.write("db_prepared_statements = 5", 'db_admin_users = ["ops"]')
        reload(way)
        way.wait_log("--db-admin-users")
        assert config(way, "query_wait_timeout") == "30", "left out means the default"
        assert config(way, "max_prepared_statements") == "5"
        command(way, "SET max_prepared_statements = 9")
        reload(way)
        assert config(way, "max_prepared_statements") == "5", "the console's word is forgotten"
        busy.execute("SELECT 1")
        busy.commit()


@BOTH
def test_i2_another_url_counts_for_new_clients_and_replaces_connections(
    way: Any, options: Options, reload: Reload
) -> None:
    with way.connect(autocommit=False) as busy, way.connect() as listener:
        pid = busy.execute("SELECT pg_backend_pid()").fetchone()
        options.write("db_connections = 2", url=options.url + "?options=-c%20work_mem%3D5MB")
        reload(way)
        assert busy.execute("SELECT pg_backend_pid()").fetchone() == pid, "its transaction goes on"
        busy.commit()
        with way.connect() as new:
            assert new.execute("SHOW work_mem").fetchone() == ("5MB",)
        until(lambda: pid[0] not in way.pids() if pid else True, what="the old server to go")
        listener.execute("SELECT 1")


@BOTH
def test_i2_who_listens_hears_on_through_a_reload(
    way: Any, options: Options, reload: Reload
) -> None:
    options.write("db_connections = 3")
    reload(way)
    with way.connect() as listener, way.connect() as other:
        listener.execute("LISTEN news")
        options.write("db_connections = 3", url=options.url + "?application_name=later")
        reload(way)
        other.execute("NOTIFY news, 'after the reload'")
        heard = [note.payload for note in listener.notifies(timeout=15, stop_after=1)]
        assert heard == ["after the reload"]


def test_i2_options_that_cannot_be_read_change_nothing(way: Any, options: Options) -> None:
    with way.connect() as client:
        client.execute("SELECT 1")
        before = way.pids()
        options.write("nonsense = 5")
        with pytest.raises(psycopg.errors.ConfigFileError, match="RELOAD failed.*nonsense"):
            by_console(way)
        way.process.send_signal(signal.SIGHUP)
        way.wait_log("the old options stay")
        client.execute("SELECT 1")
        assert way.pids() == before


def test_e8_a_password_that_was_changed_in_the_file_needs_no_reload(
    start: Any, options: Options
) -> None:
    postgres = start.postgres
    with postgres.role("LOGIN PASSWORD 'new'") as role:
        postgres.admin.execute("SET password_encryption = 'scram-sha-256'")
        postgres.admin.execute(f"ALTER ROLE {role} PASSWORD 'new'")
        hba = postgres.data / "pg_hba.conf"
        before = hba.read_text()
        hba.write_text(f"host all {role} samehost scram-sha-256\n{before}")
        postgres.rows("SELECT pg_reload_conf()")
        try:
            at = f"127.0.0.1:{postgres.port}/{start.database}?sslmode=disable"
            options.write(url=f"postgresql://{role}:old@{at}")
            way = start("--config", str(options.path), connections=1, env=UNNAMED)
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                way.connect(user=role).execute("SELECT 1")
            options.write(url=f"postgresql://{role}:new@{at}")
            assert way.connect(user=role).execute("SELECT 1").fetchone() == (1,)
        finally:
            hba.write_text(before)
            postgres.rows("SELECT pg_reload_conf()")


# --- limits


def test_g_min_connections_are_there_before_any_client(start: Any) -> None:
    way = start("--db-min-connections", "2", connections=3)
    until(lambda: len(way.pids()) == 2, what="two connections without a client")
    gone = min(way.pids())
    way.postgres.rows("SELECT pg_terminate_backend(%s)", gone)
    until(lambda: len(way.pids()) == 2 and gone not in way.pids(), what="another in its place")
    command(way, "SET min_pool_size = 3")
    until(lambda: len(way.pids()) == 3, what="a third one")
    command(way, "PAUSE")
    assert way.pids() == set()
    command(way, "RESUME")
    until(lambda: len(way.pids()) == 3, what="all three again")


def test_g_min_connections_do_not_keep_a_database_from_being_a_template(start: Any) -> None:
    way = start("--db-min-connections", "2", connections=3)
    until(lambda: len(way.pids()) == 2, what="two connections without a client")
    copy = f"{start.database}_copy"
    with way.connect(dbname="postgres") as admin:
        admin.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{start.database}"')
        admin.execute(f'DROP DATABASE "{copy}"')


def test_g_clients_that_ask_nothing_are_sent_away(start: Any) -> None:
    way = start("--db-client-idle-timeout", "2s", connections=3)
    busy = way.raw()
    busy.ask("BEGIN")
    listener = way.raw()
    listener.ask("LISTEN news")
    idle = way.raw()
    idle.ask("SELECT 1")
    assert code_of(idle.rest()) == "57P05"
    unborn = way.raw()
    assert code_of(unborn.rest()) == "57P05", "one that never asked anything"
    assert busy.value("SELECT 1") == "1"
    assert listener.value("SELECT 1") == "1"
    with way.connect(dbname="pgbouncer") as admin:
        again = way.raw()
        assert code_of(again.rest()) == "57P05"
        admin.execute("SET client_idle_timeout = 0")
        stays = way.raw()
        assert stays.is_silent(3)
        assert stays.value("SELECT 1") == "1"


def test_g_more_clients_than_the_limit_are_refused(start: Any) -> None:
    way = start("--db-max-clients", "2", connections=1)

    def found() -> tuple[str, Client]:
        client = way.stranger()
        answer = client.start(user="site", database=way.dbname)
        return ("in" if answer and answer[-1].kind == "Z" else code_of(answer)), client

    def two() -> list[Client] | None:
        both = [found(), found()]
        if all(word == "in" for word, _ in both):
            return [client for _, client in both]
        for _, client in both:
            client.close()
        return None

    # The harness's own look at the door may still count.
    clients = until(two, what="two clients")
    assert found()[0] == "53300"
    clients[0].send(pgwire.terminate())
    clients[0].close()
    until(lambda: found()[0] == "in", what="room for another")
