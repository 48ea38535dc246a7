"""Owns I1: the console, as psql, drivers and monitors of PgBouncer use it, and who may do what there.

Leaves restart and hostile bytes to ``test_i_operation`` and the rules of doors to ``test_a_door``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from harness import pgwire
from harness.operated import PATIENCE, until
from harness.pgwire import code_of
from harness.postgres import PASSWORD, Postgres
from psycopg.rows import dict_row

pytestmark = pytest.mark.pooled

CONNECTION = (
    "type user database replication state addr port local_addr local_port connect_time"
    " request_time wait wait_us close_needed ptr link remote_pid tls application_name"
    " prepared_statements id"
)
SUMS = (
    "server_assignment_count xact_count query_count {} {} xact_time query_time wait_time"
    " {}client_parse_count {}server_parse_count {}bind_count {}client_login_count"
)


def stats(prefix: str, received: str, sent: str, late: str = "") -> str:
    words = SUMS.format(received, sent, *[late or ""] * 4).split()
    return " ".join(word if late else f"{prefix}{word}" for word in words)


COLUMNS = {
    "POOLS": "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req"
    " sv_active sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait"
    " maxwait_us pool_mode load_balance_hosts",
    "DATABASES": "name host port database force_user pool_size min_pool_size reserve_pool_size"
    " server_lifetime pool_mode load_balance_hosts max_connections current_connections"
    " max_client_connections current_client_connections paused disabled",
    "USERS": "name pool_size reserve_pool_size pool_mode max_user_connections"
    " current_connections max_user_client_connections current_client_connections",
    "CLIENTS": CONNECTION,
    "SERVERS": CONNECTION,
    "SOCKETS": CONNECTION
    + " recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail",
    "ACTIVE_SOCKETS": CONNECTION
    + " recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail",
    "STATS": "database "
    + stats("total_", "received", "sent")
    + " "
    + stats("avg_", "recv", "sent"),
    "STATS_TOTALS": "database " + stats("", "bytes_received", "bytes_sent"),
    "STATS_AVERAGES": "database " + stats("", "bytes_received", "bytes_sent", "avg_"),
    "TOTALS": "name value",
    "LISTS": "list items",
    "CONFIG": "key value default changeable",
    "VERSION": "version",
    "STATE": "key value",
    "MEM": "name size used free memtotal",
    "DNS_HOSTS": "hostname ttl addrs",
    "DNS_ZONES": "zonename serial count",
    "PEERS": "peer_id host port pool_size",
    "PEER_POOLS": "peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login",
    "PINS": "client database user reason age sql",
}


@contextmanager
def console(way: Any, **more: Any) -> Iterator[psycopg.Connection[Any]]:
    connection = way.connect(**{"dbname": "pgbouncer", "row_factory": dict_row, **more})
    try:
        yield connection
    finally:
        connection.close()


def show(way: Any, what: str, **wanted: Any) -> list[dict[str, Any]]:
    """The rows of a table, those with these values only."""
    with console(way) as admin:
        rows = admin.execute(f"SHOW {what}").fetchall()
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def one(way: Any, what: str, **wanted: Any) -> dict[str, Any]:
    rows = show(way, what, **wanted)
    assert len(rows) == 1, rows
    return rows[0]


@contextmanager
def beside(work: Callable[[], Any]) -> Iterator[threading.Thread]:
    """Do it in a thread; it must have ended at the end."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread
    thread.join(PATIENCE)
    assert not thread.is_alive()


# --- what it shows


@pytest.mark.parametrize("what", COLUMNS)
def test_i1_each_table_has_pgbouncers_columns_in_their_order(pooler: Any, what: str) -> None:
    with pooler.connect() as client, console(pooler) as admin:
        client.execute("SELECT 1")
        # Simple and extended, by each of its names.
        for dbname in ("pgbouncer", "canter"):
            with console(pooler, dbname=dbname, cursor_factory=psycopg.ClientCursor) as simple:
                cursor = simple.execute(f"show {what.lower()};")
                assert cursor.description is not None
                assert " ".join(column.name for column in cursor.description) == COLUMNS[what]
        extended = admin.execute(f"SHOW {what}", prepare=True)
        assert extended.description is not None
        assert " ".join(column.name for column in extended.description) == COLUMNS[what]
        assert len(cursor.fetchall()) == len(extended.fetchall()) or what in (
            "CLIENTS",
            "SOCKETS",
        )


def test_i1_pools_count_what_is_there(pooler: Any) -> None:
    with pooler.connect(autocommit=False) as busy, pooler.connect() as idle:
        busy.execute("SELECT 1")
        idle.execute("SELECT 1")
        row = one(pooler, "POOLS")
        assert (row["database"], row["user"]) == (pooler.dbname, "site")
        assert (row["cl_active"], row["cl_waiting"]) == (2, 0)
        assert (row["sv_active"], row["sv_idle"]) == (1, 1)
        assert row["pool_mode"] == "transaction"


def test_i1_a_waiting_client_is_seen(single: Any) -> None:
    with single.connect(autocommit=False) as busy, single.connect() as waits:
        busy.execute("SELECT 1")
        with beside(lambda: waits.execute("SELECT 2")):
            until(lambda: one(single, "POOLS")["cl_waiting"] == 1, what="somebody to wait")
            assert one(single, "CLIENTS", state="waiting")["wait_us"] > 0
            assert one(single, "POOLS")["maxwait_us"] > 0
            busy.rollback()


def test_i1_clients_and_servers_name_each_other(pooler: Any) -> None:
    with (
        pooler.connect(autocommit=False, application_name="shop") as busy,
        pooler.connect(),
    ):
        busy.execute("SELECT 1")
        client = one(pooler, "CLIENTS", application_name="shop")
        server = one(pooler, "SERVERS", state="active")
        assert client["link"] == server["ptr"] and server["link"] == client["ptr"]
        assert client["state"] == "active" and client["addr"] == "unix"
        assert client["remote_pid"] == os.getpid()
        assert server["application_name"] == "shop"
        assert server["remote_pid"] in pooler.pids()
        idle = show(pooler, "CLIENTS", state="idle", database=pooler.dbname)
        assert [row["link"] for row in idle] == [""]
        assert {row["type"] for row in show(pooler, "SOCKETS")} == {"C", "S"}
        assert len(show(pooler, "ACTIVE_SOCKETS", type="C")) == 1
        assert client["connect_time"].endswith(" UTC")


def test_i1_stats_grow_with_what_is_done(pooler: Any) -> None:
    with pooler.connect() as client:
        client.execute("SELECT 1")
        before = one(pooler, "STATS_TOTALS", database=pooler.dbname)
        for _ in range(10):
            client.execute("SELECT repeat('x', 1000)", prepare=True)
        with client.transaction():
            client.execute("SELECT pg_sleep(0.05)")
        after = one(pooler, "STATS_TOTALS", database=pooler.dbname)
    grown = {key: after[key] - before[key] for key in after if key != "database"}
    # To prepare a statement is a transaction of its own.
    assert grown["xact_count"] == 1 + 10 + 1
    assert grown["query_count"] == 1 + 10 + 3
    assert grown["server_assignment_count"] == 1 + 10 + 1
    assert grown["bytes_sent"] > 10_000 > grown["bytes_received"] > 100
    assert grown["xact_time"] >= grown["query_time"] >= 50_000
    assert grown["client_parse_count"] == 1
    assert grown["server_parse_count"] in (1, 2)
    assert grown["bind_count"] == 10
    assert grown["client_login_count"] == 0
    totals = {row["name"]: row["value"] for row in show(pooler, "TOTALS")}
    assert totals["total_xact_count"] == after["xact_count"]


def test_i1_pins_are_shown_with_their_reason_and_sql(pooler: Any) -> None:
    with pooler.connect() as client:
        client.execute("SELECT pg_advisory_lock(41)")
        pin = until(lambda: show(pooler, "PINS"), what="the pin")[0]
        assert "lock" in pin["reason"]
        assert pin["sql"] == "SELECT pg_advisory_lock(41)"
        assert pin["database"] == pooler.dbname
        client.execute("SELECT pg_advisory_unlock(41)")
        until(lambda: not show(pooler, "PINS"), what="no pin")


def test_i1_version_state_and_lists(pooler: Any) -> None:
    assert "1.25" in one(pooler, "VERSION")["version"]
    assert one(pooler, "STATE", key="active")["value"] == "yes"
    lists = {row["list"]: row["items"] for row in show(pooler, "LISTS")}
    assert lists["used_clients"] == 1
    assert one(pooler, "DATABASES")["name"] == pooler.dbname


# --- who speaks to it


PSQL = shutil.which("psql")


def psql(way: Any, *lines: str, dbname: str = "pgbouncer") -> str:
    assert PSQL is not None
    done = subprocess.run(
        [
            PSQL,
            "-X",
            "-h",
            str(way.folder),
            "-p",
            str(way.port),
            "-U",
            "site",
            "-d",
            dbname,
        ],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(PSQL is None, reason="there is no psql")
def test_i1_psql(pooler: Any) -> None:
    said = psql(
        pooler,
        "\\conninfo",
        "show pools;",
        "SHOW HELP;",
        "show POLS;",
        "\\x",
        "show state;",
        ";",
    )
    assert 'database "pgbouncer"' in said or "pgbouncer" in said
    assert "cl_waiting_cancel_req" in said
    assert "SHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS" in said
    assert "there is nothing to show by the name POLS" in said
    assert "Did you mean POOLS?" in said
    assert "key   | active" in said


def test_i1_psycopg_with_parameters_and_transactions(pooler: Any) -> None:
    with pooler.connect() as victim:
        victim.execute("SELECT 1")
        number = one(pooler, "CLIENTS", database=pooler.dbname)["id"]
        with console(pooler, autocommit=False) as admin:
            admin.execute("SHOW STATE")
            assert admin.info.transaction_status.name == "INTRANS"
            for binary in (False, True):
                with pytest.raises(psycopg.errors.UndefinedObject):
                    text = "KILL_CLIENT %b" if binary else "KILL_CLIENT %t"
                    admin.execute(text, [12345678], binary=True)
                assert admin.info.transaction_status.name == "INERROR"
                admin.rollback()
            admin.execute("KILL_CLIENT %s", [number])
            rows = admin.execute("SHOW LISTS", binary=True).fetchall()
            assert {"list": "peers", "items": 0} in rows
            admin.commit()
        with pytest.raises(psycopg.errors.AdminShutdown):
            victim.execute("SELECT 1")


def test_i1_psycopg_pipeline_and_errors_within(pooler: Any) -> None:
    with console(pooler) as admin:
        with pytest.raises(psycopg.errors.SyntaxError), admin.pipeline():
            admin.execute("SHOW STATE")
            admin.execute("SHOW NOTHING")
        with admin.pipeline():
            cursors = [admin.execute("SHOW VERSION") for _ in range(20)]
        assert all("Canter" in str(cursor.fetchone()) for cursor in cursors)


def test_i1_asyncpg_prepares(pooler: Any) -> None:
    asyncpg = pytest.importorskip("asyncpg")

    async def work() -> None:
        words = {"host": str(pooler.folder), "port": pooler.port, "user": "site"}
        connection = await asyncpg.connect(database="pgbouncer", **words)
        prepared = await connection.prepare("SHOW STATS")
        assert prepared.get_attributes()[0].name == "database"
        await prepared.fetch()
        assert (await connection.fetchrow("SHOW CONFIG"))["key"] == "admin_users"
        lists = await connection.fetch("SHOW LISTS")
        assert {row["list"]: row["items"] for row in lists}["peers"] == 0
        await connection.execute("SHOW HELP")
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.fetch("SHOW NOTHING")
        await connection.reset()
        await connection.close()

    asyncio.run(work())


def test_i1_what_it_does_not_know_is_said_with_advice(pooler: Any) -> None:
    with console(pooler) as admin:
        for text, near in (
            ("PUASE", "PAUSE"),
            ("SHOW CLIENT", "CLIENTS"),
            ("KILL_CLENT 1", "KILL_C"),
        ):
            with pytest.raises(psycopg.errors.SyntaxError) as caught:
                admin.execute(text)
            assert f"Did you mean {near}" in (caught.value.diag.message_hint or "")
        with pytest.raises(psycopg.errors.SyntaxError):
            admin.execute("SELECT * FROM pg_class")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            admin.execute("SHOW FDS")
        for command in (
            "PAUSE",
            "KILL",
            "RECONNECT",
            "WAIT_CLOSE",
            "DISABLE",
            "ENABLE",
            "RESUME",
        ):
            with pytest.raises(psycopg.errors.InvalidCatalogName, match="no such database: nosuch"):
                admin.execute(f"{command} nosuch")
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            admin.execute("KILL_CLIENT x")


HOSTILE: dict[str, bytes] = {
    "query without end": pgwire.message(b"Q", b"no end"),
    "parse with a lie": pgwire.message(b"P", b"s\0SHOW POOLS\0\x75\x30"),
    "bind with half a count": pgwire.message(b"B", b"\0s\0\0\x01"),
    "bind with more than there is": pgwire.message(b"B", b"\0\0" + b"\0\0\0\x02" + b"\xff" * 5),
    "execute without end": pgwire.message(b"E", b"p"),
    "describe of what": pgwire.message(b"D", b"X\0"),
    "empty close": pgwire.message(b"C", b""),
    "unknown kind": pgwire.message(b"~", b""),
    "length 0": b"Q\0\0\0\0",
    "length max": b"Q\x7f\xff\xff\xff",
    "an open quote": pgwire.query("'" * 60_000),
    "a long word": pgwire.query("SHOW " + "x" * 60_000),
    "a message too long": pgwire.query("SHOW " + "x" * 70_000),
    "not text": pgwire.query(b"\xff"),
    "parameter 60000": pgwire.extended("KILL_CLIENT $60000"),
    "many statements": pgwire.query(";".join(["SHOW HELP"] * 5000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_i4_hostile_messages_at_the_console(pooler: Any, name: str) -> None:
    client = pooler.raw(database="pgbouncer")
    client.send(HOSTILE[name], pgwire.sync())
    client.socket.shutdown(1)
    assert all(message.kind in "EZ1NC" for message in client.rest())
    client.close()
    assert show(pooler, "LISTS")


# --- what it does


def test_i1_pause_waits_for_transactions_and_resume_goes_on(pooler: Any) -> None:
    with pooler.connect(autocommit=False) as busy, pooler.connect() as other:
        busy.execute("SELECT 1")
        with console(pooler) as admin:
            with beside(lambda: admin.execute(f"PAUSE {pooler.dbname}")) as pausing:
                until(lambda: one(pooler, "DATABASES")["paused"] == 1, what="the pause")
                assert pausing.is_alive()
                busy.commit()
        until(lambda: not pooler.pids(), what="no server connection")
        with beside(lambda: other.execute("SELECT 1")) as waiting:
            until(
                lambda: show(pooler, "CLIENTS", state="waiting"),
                what="a client that waits",
            )
            assert waiting.is_alive()
            with console(pooler) as admin:
                admin.execute(f'RESUME "{pooler.dbname}"')
        assert one(pooler, "STATE", key="paused")["value"] == "no"


def test_i1_a_pause_that_is_taken_back_is_undone(pooler: Any) -> None:
    with pooler.connect(autocommit=False) as busy, console(pooler) as admin:
        busy.execute("SELECT 1")

        def pause() -> None:
            with pytest.raises(psycopg.errors.QueryCanceled):
                admin.execute("PAUSE")

        with beside(pause):
            until(
                lambda: one(pooler, "STATE", key="paused")["value"] == "yes",
                what="the pause",
            )
            admin.cancel()
        assert one(pooler, "STATE", key="active")["value"] == "yes"
        busy.commit()


def test_i1_suspend_and_resume(pooler: Any) -> None:
    with pooler.connect() as client, console(pooler) as admin:
        client.execute("SELECT 1")
        admin.execute("SUSPEND")
        assert one(pooler, "STATE", key="suspended")["value"] == "yes"
        admin.execute("RESUME")
        client.execute("SELECT 1")


def test_i1_reconnect_and_wait_close_replace_every_server(pooler: Any) -> None:
    with pooler.connect(autocommit=False) as busy, console(pooler) as admin:
        busy.execute("SELECT 1")
        before = pooler.pids()
        admin.execute("RECONNECT")
        assert one(pooler, "SERVERS", state="active")["close_needed"] == 1
        with beside(lambda: admin.execute("WAIT_CLOSE")) as waiting:
            busy.execute("SELECT 1")
            assert waiting.is_alive()
            busy.commit()
        busy.execute("SELECT 1")
        assert not before & pooler.pids()
        busy.rollback()


def test_i1_kill_ends_clients_and_holds_new_ones(pooler: Any) -> None:
    with (
        pooler.connect() as first,
        pooler.connect() as second,
        console(pooler) as admin,
    ):
        first.execute("SELECT 1")

        def slow() -> None:
            with pytest.raises(psycopg.OperationalError):
                second.execute("SELECT pg_sleep(600)")

        with beside(slow):
            pooler.running("pg_sleep")
            admin.execute(f"KILL {pooler.dbname}")
        with pytest.raises(psycopg.OperationalError):
            first.execute("SELECT 1")
        until(lambda: not pooler.pids(), what="no server connection")
        assert len(admin.execute("SHOW CLIENTS").fetchall()) == 1
        admin.execute("RESUME")
    with pooler.connect() as again:
        again.execute("SELECT 1")


def test_i1_disable_refuses_new_clients_only(pooler: Any) -> None:
    with pooler.connect() as client, console(pooler) as admin:
        client.execute("SELECT 1")
        admin.execute(f"DISABLE {pooler.dbname}")
        assert one(pooler, "DATABASES")["disabled"] == 1
        client.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="is disabled"):
            pooler.connect()
        admin.execute(f"ENABLE {pooler.dbname}")
        pooler.connect().close()


def test_i1_set_changes_what_can_change(single: Any) -> None:
    with single.connect(autocommit=False) as busy, single.connect() as other:
        busy.execute("SELECT 1")
        with console(single) as admin:
            admin.execute("SET query_wait_timeout = '300ms'")
            assert one(single, "CONFIG", key="query_wait_timeout")["value"] == "0.3"
            with pytest.raises(psycopg.errors.TooManyConnections, match="within 0.3 s"):
                other.execute("SELECT 1")
            admin.execute("SET query_wait_timeout = '20s'")
            admin.execute("SET max_db_connections = 2")
            other.execute("SELECT 1")
            for text, error in (
                ("SET query_wait_timeout = soon", psycopg.errors.InvalidParameterValue),
                ("SET pool_mode = session", psycopg.errors.CantChangeRuntimeParam),
                ("SET server_connect_timeout = 3", psycopg.errors.CantChangeRuntimeParam),
                ("SET query_wait_timeot = 5", psycopg.errors.SyntaxError),
            ):
                with pytest.raises(error):
                    admin.execute(text)
            # What a setting is already is no change, and zero switches a limit off.
            admin.execute("SET pool_mode = transaction")
            admin.execute("SET server_connect_timeout = '15s'")
            for key in ("server_idle_timeout", "server_lifetime", "query_wait_timeout"):
                admin.execute(f"SET {key} = 0")
                assert one(single, "CONFIG", key=key)["value"] == "0"
            admin.execute("SET client_encoding TO 'UTF8'")
        busy.commit()
        for _ in range(3):
            assert other.execute("SELECT 1").fetchone() == (1,)


def test_i1_set_max_prepared_statements_holds_from_the_next_transaction_on(single: Any) -> None:
    client = single.raw()
    for n in range(6):
        client.send(pgwire.parse(f"SELECT {n} AS limited", f"s{n}"), pgwire.sync())
        client.until("Z")
    mine = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%AS limited'"
    assert client.value(mine) == "6"
    with console(single) as admin:
        admin.execute("SET max_prepared_statements = 2")
        assert one(single, "CONFIG", key="max_prepared_statements")["value"] == "2"
    client.send(pgwire.bind("s0"), pgwire.execute(), pgwire.sync())
    client.until("Z")
    assert client.value(mine) == "2"


def test_i3_shutdown_at_once(start: Any) -> None:
    way = start(connections=1)
    with way.connect(), console(way) as admin:
        admin.execute("SHUTDOWN")
        assert way.process.wait(PATIENCE) == 0


def test_i3_shutdown_waits_for_servers(start: Any) -> None:
    way = start(connections=1)
    with (
        way.connect(autocommit=False) as busy,
        way.connect() as idle,
        console(way) as admin,
    ):
        busy.execute("SELECT 1")
        admin.execute("SHUTDOWN WAIT_FOR_SERVERS")
        until(lambda: code_of_end(idle), what="the idle client to be told")
        busy.execute("SELECT 1")
        busy.commit()
        assert way.process.wait(PATIENCE) == 0


def code_of_end(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def test_i3_shutdown_waits_for_clients(start: Any) -> None:
    way = start(connections=1)
    with console(way) as admin:
        with way.connect() as client:
            client.execute("SELECT 1")
            admin.execute("SHUTDOWN WAIT_FOR_CLIENTS")
            with pytest.raises(psycopg.errors.AdminShutdown, match="pooler is shutting down"):
                admin.execute("RESUME")
            client.execute("SELECT 1")
            with pytest.raises(OSError):
                way.stranger()
            admin.execute("SHOW CLIENTS")
            assert way.process.poll() is None
        assert way.process.wait(PATIENCE) == 0


# --- who may


@pytest.fixture
def guarded(start: Any, postgres: Postgres, tmp_path: Path) -> Any:
    """A pooler whose clients prove who they are."""
    users = tmp_path / "users"
    users.write_text("".join(f'"{name}" "secret"\n' for name in ("ops", "monitor", "guest")))
    word = quote(PASSWORD, safe="")
    url = f"postgresql://by_scram:{word}@127.0.0.1:{postgres.port}/{start.database}?sslmode=disable"
    flags = [
        "--db-auth-file",
        str(users),
        "--db-admin-users",
        "ops",
        "--db-stats-users",
        "monitor",
    ]
    return start(*flags, connections=1, url=url)


def proved(way: Any, user: str, password: str = "secret") -> psycopg.Connection[Any]:
    host, port = way.tcp
    words = {
        "host": host,
        "port": port,
        "user": user,
        "password": password,
        "sslmode": "disable",
    }
    return psycopg.connect(dbname="pgbouncer", autocommit=True, **words)


def test_i1_rights_by_user(guarded: Any) -> None:
    for user, password in (("by_scram", PASSWORD), ("ops", "secret")):
        with proved(guarded, user, password) as admin:
            admin.execute("SHOW POOLS")
            admin.execute("RECONNECT")
    with proved(guarded, "monitor") as monitor:
        for what in COLUMNS:
            monitor.execute(f"SHOW {what}")
        # CVE-2026-6667: each command is checked, not most of them.
        for command in (
            "KILL_CLIENT 1",
            "KILL",
            f"KILL {guarded.dbname}",
            "PAUSE",
            "RESUME",
            "SUSPEND",
            "RECONNECT",
            "RELOAD",
            "SHUTDOWN",
            "WAIT_CLOSE",
            f"DISABLE {guarded.dbname}",
            f"ENABLE {guarded.dbname}",
            "SET query_timeout = 1",
        ):
            for prepare in (False, True):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    monitor.execute(command, prepare=prepare)
        assert monitor.execute("SHOW STATE").fetchone() == ("active", "yes")
    with pytest.raises(psycopg.OperationalError, match="may not use the console"):
        proved(guarded, "guest")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        proved(guarded, "ops", "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        proved(guarded, "pgbouncer", "secret")


def test_i1_a_door_that_trusts_everybody_trusts_nobody_with_the_console(
    start: Any,
) -> None:
    way = start("--db-auth", "trust", connections=1)
    host, port = way.tcp
    # Our own uid is a proof on any door.
    with psycopg.connect(host=host, port=port, user="site", dbname="pgbouncer") as admin:
        admin.execute("SHOW POOLS")
    if os.geteuid() == 0:
        assert way.as_somebody_else().startswith("R\0\0\0\x08\0\0\0\0")
        assert "may not use the console" in way.as_somebody_else(dbname="pgbouncer")


def test_i1_a_real_database_of_that_name_is_itself(start: Any) -> None:
    postgres = start.postgres
    with psycopg.connect(
        host=str(postgres.folder),
        port=postgres.port,
        user="site",
        dbname="postgres",
        autocommit=True,
    ) as admin:
        admin.execute("DROP DATABASE IF EXISTS canter")
        admin.execute("CREATE DATABASE canter")
    way = start(connections=1, dbname="canter")
    with way.connect(dbname="canter") as client:
        assert client.execute("SELECT current_database()").fetchone() == ("canter",)
    assert one(way, "DATABASES")["name"] == "canter"


def test_i1_ctrl_c_in_psql_ends_a_wait(pooler: Any) -> None:
    if PSQL is None:
        pytest.skip("there is no psql")
    with pooler.connect(autocommit=False) as busy:
        busy.execute("SELECT 1")
        words = [
            PSQL,
            "-X",
            "-h",
            str(pooler.folder),
            "-p",
            str(pooler.port),
            "-U",
            "site",
        ]
        process = subprocess.Popen(
            [*words, "-d", "pgbouncer", "-c", "PAUSE"],
            stderr=subprocess.PIPE,
            text=True,
        )
        until(
            lambda: one(pooler, "STATE", key="paused")["value"] == "yes",
            what="the pause",
        )
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
        assert "canceling statement" in said
        busy.commit()


def test_i1_the_raw_protocol_of_the_console(pooler: Any) -> None:
    with pooler.raw(database="pgbouncer") as client:
        found = client.ask("SHOW STATE; SHOW NOTHING; SHOW STATE")
        assert code_of(found) == "42601"
        assert [message.kind for message in found] == list("TDDDCEZ")
        assert [message.kind for message in client.ask(" ; ")] == list("IZ")
        client.send(pgwire.message(b"F", b"\0\0\0\1\0\0\0\0\0\0"))
        assert [client.receive().kind for _ in range(2)] == list("EZ")
