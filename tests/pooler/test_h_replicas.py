"""Owns H1 to H6: reads on a streaming replica, through the whole pooler and a real standby.

Leaves the rules themselves to the tests of ``crates/pg``, servers that misbehave to its scripted
ones, and visitors of a site to ``tests/test_db_serve.py``.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import pgwire
from harness.operated import together, until
from harness.pgwire import code_of, kinds
from harness.pooler import url_of
from harness.postgres import Postgres

pytestmark = pytest.mark.pooled

PORT = "SHOW port"
NO_LIMIT = ("--db-replica-max-lag", "1h")


@pytest.fixture
def replica(postgres: Postgres, database: str) -> Iterator[Postgres]:
    with postgres.standby() as standby:
        yield standby


def caught_up(postgres: Postgres, replica: Postgres) -> None:
    """Wait until the replica has what the primary has now."""
    position = postgres.value("SELECT pg_current_wal_lsn()::text")
    sql = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
    until(lambda: replica.value(sql, position), what="the replica to have caught up")


def paused(replica: Postgres) -> None:
    """It receives and does not replay."""
    replica.rows("SELECT pg_wal_replay_pause()")
    sql = "SELECT pg_get_wal_replay_pause_state() = 'paused'"
    until(lambda: replica.value(sql), what="the replay to pause")


def resumed(replica: Postgres) -> None:
    replica.rows("SELECT pg_wal_replay_resume()")


def port_of(client: pgwire.Client) -> int:
    return int(client.value(PORT) or 0)


def reads_on(client: pgwire.Client, server: Postgres) -> None:
    """Wait until a read of this client is served there."""
    until(lambda: port_of(client) == server.port, what=f"a read on {server.data.name}")


@pytest.fixture
def split(start: Any, postgres: Postgres, replica: Postgres) -> Any:
    """A pooler before both, with a table that both have."""
    with postgres.connect(dbname=start.database, user="site") as admin:
        admin.execute("CREATE TABLE h (n int); CREATE SEQUENCE s;")
        admin.execute(
            "CREATE FUNCTION charge() RETURNS int LANGUAGE sql AS"
            " $$INSERT INTO h VALUES (7) RETURNING n$$"
        )
    caught_up(postgres, replica)
    return start(*NO_LIMIT, "--db-replica", url_of(replica, start.database), connections=3)


def test_h1_lone_reads_and_read_only_transactions_leave_the_primary(
    split: Any, postgres: Postgres, replica: Postgres
) -> None:
    client = split.raw()
    reads_on(client, replica)
    for begin in ("BEGIN READ ONLY", "START TRANSACTION READ ONLY"):
        client.ask(begin)
        for _ in range(3):
            assert port_of(client) == replica.port
        client.ask("COMMIT")
    client.ask("BEGIN")
    assert port_of(client) == postgres.port
    client.ask("COMMIT")
    answer = client.ask("SHOW port; SHOW port")
    assert [one.values for one in answer if one.kind == "D"] == [[b"%d" % postgres.port]] * 2


def test_h1_prepared_and_extended_reads_do_too(
    split: Any, postgres: Postgres, replica: Postgres
) -> None:
    client = split.raw()
    reads_on(client, replica)
    client.send(pgwire.parse("SHOW port", "where"), pgwire.sync())
    client.until("Z")
    for sent in (
        pgwire.extended("SHOW port"),
        pgwire.bind("where") + pgwire.execute(),
        pgwire.bind("where") + pgwire.describe(kind=b"P") + pgwire.execute(),
    ):
        client.send(sent, pgwire.sync())
        rows = [one.values[0] for one in client.until("Z") if one.kind == "D"]
        assert rows == [b"%d" % replica.port]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO h VALUES (1)",
        "WITH w AS (INSERT INTO h VALUES (1) RETURNING n) SELECT n FROM w",
        "SELECT n FROM h FOR UPDATE",
        "SELECT n FROM h FOR KEY SHARE",
        "SELECT n INTO other FROM h",
        "SELECT nextval('s')",
        "SELECT charge()",
        "SELECT pg_advisory_xact_lock(1)",
        "EXPLAIN ANALYZE INSERT INTO h VALUES (1)",
        "NOTIFY h",
        "LOCK TABLE h",
        "CREATE TEMP TABLE t (n int)",
        "COPY h FROM PROGRAM 'true'",
    ],
)
def test_h2_what_writes_or_locks_goes_to_the_primary(
    split: Any, replica: Postgres, sql: str
) -> None:
    client = split.raw()
    reads_on(client, replica)
    # On a replica each of these is 25006 or 0A000.
    assert code_of(client.ask(sql)) in ("", "42501", "25P01"), sql


def test_h3_a_replica_that_is_too_far_behind_gets_no_reads(
    start: Any, postgres: Postgres, replica: Postgres
) -> None:
    flags = ("--db-replica-max-lag", "300ms", "--db-replica", url_of(replica, start.database))
    way = start(*flags, connections=2)
    client = way.raw()
    caught_up(postgres, replica)
    reads_on(client, replica)
    paused(replica)
    with postgres.connect(dbname=start.database) as writer:
        writer.execute("CREATE TABLE h3 (n int)")
        reads_on(client, postgres)
        for _ in range(20):
            assert port_of(client) == postgres.port
    resumed(replica)
    reads_on(client, replica)


def test_h3_a_primary_at_rest_makes_no_replica_old(
    start: Any, postgres: Postgres, replica: Postgres
) -> None:
    flags = ("--db-replica-max-lag", "10ms", "--db-replica", url_of(replica, start.database))
    way = start(*flags, connections=2)
    client = way.raw()
    client.ask("CREATE TABLE h3 (n int)")
    caught_up(postgres, replica)
    # Nothing is written: the last transaction gets older and older, and nothing is missing.
    until(lambda: replica.value("SELECT now() - pg_last_xact_replay_timestamp() > '1 s'"))
    reads_on(client, replica)


def test_h4_who_writes_reads_what_it_wrote(
    split: Any, postgres: Postgres, replica: Postgres
) -> None:
    writer, reader = split.raw(), split.raw()
    for client in (writer, reader):
        reads_on(client, replica)
    paused(replica)
    assert code_of(writer.ask("INSERT INTO h VALUES (1)")) == ""
    for _ in range(30):
        assert writer.value("SELECT count(*) FROM h") == "1"
    # Others may read an older state meanwhile.
    assert port_of(reader) == replica.port
    assert reader.value("SELECT count(*) FROM h") == "0"
    resumed(replica)
    reads_on(writer, replica)
    assert writer.value("SELECT count(*) FROM h") == "1"


def test_h4_what_was_written_in_a_transaction_counts_from_its_commit(
    split: Any, replica: Postgres
) -> None:
    writer = split.raw()
    reads_on(writer, replica)
    paused(replica)
    writer.ask("BEGIN; INSERT INTO h VALUES (1)")
    writer.ask("INSERT INTO h VALUES (2)")
    writer.ask("COMMIT")
    for _ in range(30):
        assert writer.value("SELECT count(*) FROM h") == "2"
    resumed(replica)


def test_h5_without_a_replica_reads_go_to_the_primary_and_come_back(
    split: Any, postgres: Postgres, replica: Postgres
) -> None:
    client = split.raw()
    reads_on(client, replica)
    replica.stop(kill=True)

    def work() -> None:
        with split.raw() as one:
            for _ in range(20):
                assert port_of(one) == postgres.port

    together([work] * 4)
    assert port_of(client) == postgres.port
    replica.start(replica.port)
    reads_on(client, replica)


def test_h5_a_replica_that_was_promoted_is_read_from_no_more(
    split: Any, postgres: Postgres, replica: Postgres
) -> None:
    client = split.raw()
    reads_on(client, replica)
    assert replica.value("SELECT pg_promote()")
    reads_on(client, postgres)
    for _ in range(30):
        assert port_of(client) == postgres.port


@pytest.mark.parametrize("by_signal", [False, True], ids=["console", "SIGHUP"])
def test_h5_replicas_come_and_go_with_a_reload(
    start: Any, postgres: Postgres, replica: Postgres, tmp_path: Path, by_signal: bool
) -> None:
    config = tmp_path / "canter.toml"
    url = url_of(replica, start.database)
    config.write_text('db_replica_max_lag = "1h"\n')
    way = start("--config", str(config), connections=3)

    def reload() -> None:
        if by_signal:
            count = way.log.count("reloaded")
            way.process.send_signal(signal.SIGHUP)
            until(lambda: way.log.count("reloaded") > count, what="the reload")
        else:
            with way.connect(dbname="pgbouncer") as admin:
                admin.execute("RELOAD")

    with way.raw() as before:
        assert port_of(before) == postgres.port
        config.write_text(f'db_replica_max_lag = "1h"\ndb_replica = ["{url}"]\n')
        reload()
        with way.raw() as client:
            reads_on(client, replica)
            config.write_text('db_replica_max_lag = "1h"\n')
            reload()
            for one in (before, client):
                for _ in range(5):
                    assert port_of(one) == postgres.port


def test_h6_a_conflict_with_recovery_is_run_again_on_the_primary(
    split: Any, postgres: Postgres, replica: Postgres
) -> None:
    replica.rows("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    replica.rows("SELECT pg_reload_conf()")
    with postgres.connect(dbname=split.dbname, user="site") as writer:
        writer.execute("INSERT INTO h SELECT generate_series(1, 100)")
        caught_up(postgres, replica)
        client = split.raw()
        reads_on(client, replica)
        # Long on the replica, which must give way to what VACUUM removed; at once on the primary.
        here = f"current_setting('port') = '{replica.port}'"
        sql = f"SELECT count(*), CASE WHEN {here} THEN pg_sleep(600) END FROM h"
        client.send(pgwire.query(sql))
        running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = %s"
        until(lambda: replica.value(running, sql), what="the query on the replica")
        writer.execute("DELETE FROM h")
        writer.execute("VACUUM h")
    answer = client.until("Z")
    assert kinds(answer) == "TDCZ", answer
    assert [one.values[0] for one in answer if one.kind == "D"] == [b"0"]


def test_h_settings_and_prepared_statements_follow_to_the_replica(
    split: Any, replica: Postgres
) -> None:
    client = split.raw(**{"app.tenant": "7"})
    client.ask("SET work_mem = '3MB'")
    reads_on(client, replica)
    assert client.value("SHOW work_mem") == "3MB"
    assert client.value("SHOW app.tenant") == "7"
    other = split.raw()
    reads_on(other, replica)
    assert other.value("SHOW work_mem") == "4MB"


def test_h_replicas_need_a_database_and_the_same_user(start: Any, postgres: Postgres) -> None:
    from harness.operated import run_canter

    url = url_of(postgres, start.database)
    env = {"DATABASE_URL": url}
    other = url_of(postgres, start.database, user="guest")
    done = run_canter("pool", "--check-config", "--db-replica", other, cwd=postgres.folder, env=env)
    assert done.returncode == 2
    assert "read from as guest, and the database is used as site" in done.stderr
